"""From a picture to a registration, from a frame to a verdict.

May import every other room of the library.
"""
