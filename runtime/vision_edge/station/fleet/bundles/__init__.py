"""New bundles: fetched, unpacked, tried in shadow, taken or refused."""
