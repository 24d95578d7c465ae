"""Running a bundle: one session over every provider. Imports `bundles` and below."""
