"""Rows that a model makes from training rows: paraphrases, back-translations, new ones."""
