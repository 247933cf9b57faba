"""transformers + PEFT on CUDA, MPS and CPU, with the costly parts of a training step written for memory and speed."""
