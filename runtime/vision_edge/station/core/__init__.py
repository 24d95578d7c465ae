"""The station itself: sources, products, review, without a web server. Raises its own errors."""
