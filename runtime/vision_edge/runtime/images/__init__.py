"""Pictures: decoding, preparing, judging, generating and drawing them.

Imports `arrays` and `system`.
"""
