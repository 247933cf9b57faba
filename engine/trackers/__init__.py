"""Trackers: followers of a run's events that report them to another program."""
