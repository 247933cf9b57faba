"""Curves of a run: loss and other metrics by step, time or tokens, downsampled for charts."""
