"""Placeholder of the search for a repair; see the docstring of `repair_file`."""
