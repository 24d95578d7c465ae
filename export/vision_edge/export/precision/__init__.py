"""Precisions by rewriting the graph: float16, int8, and what each costs. Imports `graph`."""
