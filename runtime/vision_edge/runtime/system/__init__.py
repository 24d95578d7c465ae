"""The machine under us: files written whole, processors, and pauses that grow.

Imports `errors` alone.
"""
