"""The station: the long-running service on an edge device."""
