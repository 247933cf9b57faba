"""Formats of rows: columns of a file to a conversation, a text, or a pair of answers."""
