"""The registered products of a station, with their snapshots and history.

Imports `bundles` and below, and `recognition`.
"""
