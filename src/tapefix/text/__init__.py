"""From paths to text and back: walking folders, the gate, reading and writing files, suppressions."""
