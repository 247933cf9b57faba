"""Unsloth's loading and kernels under the torch backend's step, on CUDA."""
