"""The service process, which answers questions for the app and commands, and its client."""
