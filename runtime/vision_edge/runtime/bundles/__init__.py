"""Bundles: the manifest, the verified folder, and what ships with the program.

Imports `images` and below.
"""
