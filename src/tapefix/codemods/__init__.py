"""Rewriting source text: edits as plain data, and the libcst transformer that carries them out."""
