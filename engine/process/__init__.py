"""The engine process: its start, its supervisor, what it does, and why it ended."""
