"""Punctuation: words without marks -> text with them."""
