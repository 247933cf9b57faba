"""Inputs that users of other tools met, and the right result of each."""
