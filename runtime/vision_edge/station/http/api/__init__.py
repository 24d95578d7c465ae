"""The HTTP API of a station, one module a topic; `app.py` puts them together."""
