"""A rendered factory line: conveyor-belt video of machine parts, with ground truth."""
