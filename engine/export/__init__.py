"""Exporters: writers of a model in the files of another program."""
