"""Where verdicts go: tables, annotated pictures, a folder for review.

Imports `recognition`, `sources` and below.
"""
