"""LoRA Inversion: images from adapters. Imports `pool` and below."""
