"""The synthetic pool: inverted images with labels, and tasks drawn from it. Imports `adapters`."""
