"""Meta-learning on the pool. Imports `pool` and below."""
