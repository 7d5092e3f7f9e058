"""The language server: findings while typing, and proved repairs as code actions. Needs the extra `tapefix[lsp]`."""
