"""Jobs that an engine process does in a run directory: training, conversion."""
