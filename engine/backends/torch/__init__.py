"""transformers + PEFT on CUDA, MPS and CPU, with the costly parts of a training step written for memory and speed."""

import os

# Read as torch is loaded: what MPS has no kernel for (a singular value decomposition, say) runs on the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
