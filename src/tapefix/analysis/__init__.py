"""Reading code with Python's own `ast`: names, definitions, the flow of values, tapes, losses, layers. Never edits."""
