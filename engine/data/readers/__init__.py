"""Readers of files: JSON, CSV, Parquet, Arrow and text to rows; any row by its number."""
