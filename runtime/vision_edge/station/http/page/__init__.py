"""The operator's web page of a station."""
