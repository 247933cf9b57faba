"""The Unsloth backend, in an environment of its own: `make test-unsloth`."""
