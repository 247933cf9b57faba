"""Recipes from the files of other trainers: what was taken, what changed in meaning, and what has no equal."""
