"""Making adapters from labelled images. Imports `adapters` and `data`."""
