"""Where the API lies."""

PREFIX = "/api/v1"
"""Of every route of the API."""
