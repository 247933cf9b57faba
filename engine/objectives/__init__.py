"""Training objectives: what each method learns from a batch, one file a method."""
