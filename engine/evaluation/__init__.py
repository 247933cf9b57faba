"""Evaluation on rows that were never trained."""
