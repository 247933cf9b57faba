"""Merging: adapters folded into full weights, tensor by tensor."""
