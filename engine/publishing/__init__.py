"""Publishing: model cards, and uploads to the hub."""
