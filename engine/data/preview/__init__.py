"""Rows as the model will see them, for people who look through a file."""
