"""Widgets that more than one screen shows."""
