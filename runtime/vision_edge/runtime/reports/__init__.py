"""What is shown to people: charts as SVG, numbers in words, and pages of them.

Charts need the standard library alone, so that `bench` draws on a bare device; pages need jinja2.
Imports `system` and `errors`.
"""
