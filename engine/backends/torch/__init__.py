"""transformers + PEFT on CUDA, MPS and CPU, with the costly parts of a training step written for memory and speed."""

import os

# Read as torch is loaded: what MPS has no kernel for (a singular value decomposition, say) runs on the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
# oneDNN, which multiplies bf16 on a CPU, makes code for each size of a product in half a millisecond and keeps that of
# a thousand, 0.7 MB each. Rows of a new length bring some 40 sizes, and 128 are enough for all that a step repeats.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
