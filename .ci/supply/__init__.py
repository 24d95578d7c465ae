"""What the product is made of: its dependencies, their licences, their known vulnerabilities.

    python -m supply sbom OUT | licences [--check] | audit DATABASE | wheel-twice

Run from the checkout, with `.ci` on the path and the extras in question installed: what a package
depends on, and its licence, stand in its own metadata.
"""
