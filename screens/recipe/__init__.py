"""The Recipe screen."""
