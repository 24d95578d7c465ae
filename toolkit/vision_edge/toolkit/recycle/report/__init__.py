"""The report of a build: its facts, a sheet of its images, and a page of both."""
