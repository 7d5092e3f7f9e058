"""What the user sees: the full, concise and JSON reports, the progress line, and the texts about rules."""
