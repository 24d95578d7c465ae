"""Keys, signatures, whom to trust, and signed records; imports `system` and `errors`."""
