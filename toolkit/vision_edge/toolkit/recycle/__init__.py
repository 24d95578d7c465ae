"""The whole of LoRA Recycle: average, invert, meta-learn, report.

Imports every room of the toolkit but `cli`.
"""
