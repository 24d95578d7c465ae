"""The fleet: stations of one line share their products, and take new bundles safely."""
