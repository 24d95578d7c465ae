"""The algorithm: prototypes, strangers, consensus over a part, verdicts.

Imports numpy and `arrays` alone.
"""
