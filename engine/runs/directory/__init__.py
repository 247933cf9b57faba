"""One run directory: its events, state, lock, control files, checkpoints and result."""
