"""Memory that training with torch needs, part by part, from the model's shape alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engine.backend_spec import BYTES, Load, MemoryPlan
from engine.backends.memory_model import GATE_TEMPORARIES, LOGIT_BYTES, UNEVEN
from engine.config.adapters import PROMPT_TYPES, AdapterType
from engine.models.shape import ModelShape

LOGIT_PIECE = 4 << 20
"""Part of a chunk of logits that a CPU widens at a time, with its temporaries."""
HOST_OVERHEAD = 550_000_000
"""Resident interpreter, torch, transformers, PEFT and tokenizers with their code in use (450 MB measured
on Linux), and what the allocator keeps (100 MB)."""
CUDA_OVERHEAD = 700_000_000
"""CUDA context, cuBLAS workspaces and the caching allocator's slack."""
BLOCKS = ("llama", "mistral", "qwen2")
"""Architectures whose layers the torch backend replaces whole (`engine.backends.torch.block`)."""
BETWEEN_BLOCKS = 1.08
"""A CPU's allocator leaves room between blocks of ever other sizes: so much is held of what activations take."""


@dataclass(frozen=True)
class PeftLayer:
    """Tensors that one of PEFT's adapted layers keeps for the backward pass, beside those of a plain layer.

    Read from PEFT's layers, and measured.
    """

    inputs: int = 0
    """Tensors as wide as its inputs, a token."""
    outputs: int = 0
    """Tensors as wide as its outputs, a token."""
    matrices: int = 0
    """fp32 matrices of the layer's own size."""
    squares: int = 0
    """fp32 matrices as high and wide as its inputs; one of them is there all the time."""


PEFT_LAYERS: Mapping[AdapterType, PeftLayer] = {
    "dora": PeftLayer(outputs=2),
    "adalora": PeftLayer(),
    "ia3": PeftLayer(outputs=1),
    "loha": PeftLayer(matrices=2),
    "lokr": PeftLayer(matrices=1),
    "oft": PeftLayer(inputs=1),
    "boft": PeftLayer(matrices=2, squares=6),
    "vera": PeftLayer(outputs=1),
}
"""The types that run PEFT's own layers; LoRA runs ft's, and virtual tokens change no layer."""


def predict(shape: ModelShape, load: Load) -> MemoryPlan:
    """Peak bytes by part while training."""
    full = load.rank == 0
    return MemoryPlan(
        weights=weight_bytes(shape, load),
        adapter=0 if full else 4 * load.trained,
        gradients=4 * load.trained,
        optimizer=optimizer_bytes(load),
        activations=activation_bytes(shape, load),
        logits=logit_bytes(shape, load),
        overhead=CUDA_OVERHEAD if load.device == "cuda" else HOST_OVERHEAD,
    )


def optimizer_bytes(load: Load) -> int:
    """AdamW's two moments; in 8 bits each has an fp32 scale for a block of 256 (arXiv:2110.02861, section 2)."""
    scales = 2 * 4 * load.trained // 256 if load.moment_bytes == 1 else 0
    return 2 * load.moment_bytes * load.trained + scales


def weight_bytes(shape: ModelShape, load: Load) -> int:
    """Frozen or trained weights.

    bitsandbytes quantises the linear layers alone. 8-bit: one byte a weight and an fp32 scale a row
    (LLM.int8(), arXiv:2208.07339). 4-bit: half a byte and an fp32 scale for a block of 64, so 4.5 bits;
    with double quantisation the scale takes 8 bits and an fp32 one for 256 of them, so 4.127 bits
    (QLoRA, arXiv:2305.14314, section 3).
    """
    linear = shape.linear_parameters + shape.tower_weights
    rest = shape.parameters - linear
    if load.quantization == "none":
        return shape.parameters * BYTES[load.weights]
    if load.quantization == "8bit":
        scales = sum(4 * layer.outputs * layer.count for layer in shape.linears)
        return linear + scales + rest * BYTES[load.weights]
    bits = 4 + (8 / 64 + 32 / (64 * 256) if load.double_quant else 32 / 64)
    return int(linear * bits / 8) + rest * BYTES[load.weights]


def activation_bytes(shape: ModelShape, load: Load) -> int:
    """Tensors that the forward pass keeps for the backward pass, and the largest temporaries beside them.

    Every layer keeps `saved_per_token` bytes a token; with checkpointing, its input alone, and one layer
    at a time is computed again (compare Korthikanti et al. 2022, arXiv:2205.05198, sections 4.1 and 5). Where inputs
    wait in host memory, that of the layer at work alone is here.
    """
    width = BYTES[load.compute]
    layer = load.tokens * saved_per_token(shape, load)
    inputs = load.tokens * shape.hidden * width
    kept = (
        layer + inputs * (1 if load.offloading else shape.layers)
        if load.checkpointing
        else layer * shape.layers
    )
    temporary = GATE_TEMPORARIES * load.tokens * shape.intermediate * width
    if own := PEFT_LAYERS.get(load.adapter):
        kept += matrix_bytes(shape, own, load.checkpointing)
    slack = BETWEEN_BLOCKS if load.device == "cpu" else 1.0
    return int(slack * (kept + temporary)) + widened_weight_bytes(shape, load)


def host_bytes(shape: ModelShape, load: Load) -> int:
    """Pinned host memory for what waits there: the inputs of the layers and of the last norm.

    torch takes such memory in blocks of powers of two (`CachingHostAllocator.h`).
    """
    block = 1 << (load.tokens * shape.hidden * BYTES[load.compute] - 1).bit_length()
    return (shape.layers + 1) * block if load.offloading else 0


def saved_per_token(shape: ModelShape, load: Load) -> int:
    """Bytes that one layer keeps for one token.

    The inputs of both norms, queries, keys and values, the attention's output (on a GPU both example by example and end
    to end), gate and up, and what the adapters make of their inputs. Norms, softmax and the gate's product are computed
    again in the backward pass, dropout's masks are drawn again; gate and up are kept in the weights' format. A layer
    that is not of Llama's shape keeps what its norms made too; so do full training and adapters with PEFT's own layers,
    and the plain MLP's steps.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = 2 if shape.architecture in BLOCKS and load.adapter == "lora" else 4
    outputs = 1 if load.device == "cpu" and load.adapter not in PROMPT_TYPES else 2
    kept = norms * shape.hidden + (1 + outputs) * queries + 2 * keys
    own = PEFT_LAYERS.get(load.adapter, PeftLayer())
    if load.rank == 0 or load.adapter in PEFT_LAYERS:
        return (kept + 4 * shape.intermediate + wide(shape, own)) * BYTES[load.compute]
    if load.adapter != "lora":
        return kept * BYTES[load.compute] + 2 * shape.intermediate * BYTES[load.weights]
    low = load.rank * sum(layer.count for layer in shape.linears) // shape.layers
    return (kept + low) * BYTES[load.compute] + 2 * shape.intermediate * BYTES[load.weights]


def widened_weight_bytes(shape: ModelShape, load: Load) -> int:
    """The largest frozen weight in the compute format, where it is held in another."""
    if load.rank == 0 or (load.weights == load.compute and load.quantization == "none"):
        return 0
    largest = max((layer.inputs * layer.outputs for layer in shape.linears), default=0)
    return largest * BYTES[load.compute]


def logit_bytes(shape: ModelShape, load: Load) -> int:
    """A chunk of logits, whose buffer their gradient takes over; only trained tokens have logits.

    They are widened to fp32 for the softmax, on a GPU a whole chunk together.

    Behind virtual tokens every token has, in the compute format, and its gradient; the trained ones also in fp32,
    with their logarithms and gradients.
    Where the output's weights are trained, their gradient is made beside it, and once more when scaled.
    """
    trained = load.tokens * min(1.0, UNEVEN * load.trained_share)
    if load.adapter in PROMPT_TYPES:
        return math.ceil(shape.vocab * (2 * BYTES[load.compute] * load.tokens + 3 * 4 * trained))
    chunk = widened = min(LOGIT_BYTES, math.ceil(4 * trained * shape.vocab))
    if load.compute != "fp32":
        chunk = widened * BYTES[load.compute] // 4 + (
            min(LOGIT_PIECE, widened) if load.device == "cpu" else widened
        )
    if load.kernels == "liger":
        chunk = liger_rows(math.ceil(trained), shape) * shape.vocab * BYTES[load.compute]
    return chunk + (2 * 4 * shape.vocab * shape.hidden if load.head else 0)


def liger_rows(trained: int, shape: ModelShape) -> int:
    """Trained tokens in one of Liger's chunks: as many as make its logits about as large as all hidden states.

    `fused_linear_cross_entropy_forward` of liger-kernel: a power of two.
    """
    share = math.ceil(trained / math.ceil(shape.vocab / shape.hidden))
    return min(trained, 1 << max(share - 1, 0).bit_length())


def wide(shape: ModelShape, kept: PeftLayer) -> int:
    """Numbers that the adapted layers of one block keep for one token."""
    numbers = sum(
        (kept.inputs * layer.inputs + kept.outputs * layer.outputs) * layer.count for layer in shape.linears
    )
    return numbers // shape.layers


def matrix_bytes(shape: ModelShape, kept: PeftLayer, checkpointing: bool) -> int:
    """Matrices made for the pass: of all blocks, or of the one that is computed again."""
    own = sum(layer.inputs * layer.outputs * layer.count for layer in shape.linears)
    square = sum(layer.inputs**2 * layer.count for layer in shape.linears) if kept.squares else 0
    made = kept.matrices * own + max(kept.squares - 1, 0) * square
    return 4 * (square + made // (shape.layers if checkpointing else 1))
