"""The report of a build: its facts, and a page of them."""
