"""One adapter from many by linear algebra alone. Imports `adapters`."""
