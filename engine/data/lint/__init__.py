"""What would waste a run: rows that teach nothing, or the wrong thing."""
