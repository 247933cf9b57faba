"""All runs at a glance: summaries, filters, comparison."""
