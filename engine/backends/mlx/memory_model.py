"""Memory that training with MLX needs: its own weights, and what its automatic differentiation keeps.

The counts of tensors were fitted to the peak that MLX itself tells on a CPU, over a dozen models of a few million
weights. There they are at most a sixth too high, where as many tokens are trained as was foreseen. On Metal
nothing was measured.
"""

from engine.backend_spec import BYTES, Load, MemoryPlan
from engine.backends.memory_model import GATE_TEMPORARIES, LOGIT_BYTES, UNEVEN
from engine.models.shape import ModelShape

OVERHEAD = 240_000_000
"""Resident interpreter, MLX, mlx-lm and tokenizers, compiled steps, and what the allocator keeps; torch is kept out. On
Linux, the engine's peak was 235 MB above what MLX told of its arrays (a tiny model, 21 shapes, mimalloc)."""
LOGIT_COPIES = 2
"""Chunks of fp32 logits that are there together: the logits, and their gradient."""
KERNEL_TILE = 8192
"""Part of the vocabulary whose logits mlx-train-perf makes together in its backward pass, for all trained tokens."""
GROUP = 64
"""Weights that share a scale and an offset."""


def predict(shape: ModelShape, load: Load) -> MemoryPlan:
    """Peak bytes by part while training."""
    full = load.rank == 0
    activations, logits = activation_bytes(shape, load), logit_bytes(shape, load)
    # The step makes new weights and moments beside the old ones, when gradients alone are left of the backward pass.
    stepping = max(0, (12 - 4) * load.trained - activations - logits)
    return MemoryPlan(
        weights=weight_bytes(shape, load),
        adapter=0 if full else 4 * load.trained,
        gradients=2 * 4 * load.trained,
        optimizer=8 * load.trained + stepping,
        activations=activations,
        logits=logits,
        overhead=OVERHEAD,
    )


def weight_bytes(shape: ModelShape, load: Load) -> int:
    """Frozen or trained weights.

    Quantised linear layers take 4 or 8 bits a weight, and a scale and an offset in the weights' format for each
    group (mx.quantize). Full training computes on a copy where it does so in another format than fp32.
    """
    width = BYTES[load.weights]
    if load.quantization == "none":
        copy = BYTES[load.compute] if load.compute != load.weights else 0
        return shape.parameters * (width + copy)
    linear = shape.linear_parameters
    bits = (4 if load.quantization == "4bit" else 8) + 2 * 8 * width / GROUP
    return int(linear * bits / 8) + (shape.parameters - linear) * width


def activation_bytes(shape: ModelShape, load: Load) -> int:
    """Tensors that the forward pass keeps for the backward pass, and the largest temporaries beside them.

    With checkpointing every layer keeps its input alone, and one layer at a time is computed again. The kernels of
    mlx-train-perf keep no scores.
    """
    width = BYTES[load.compute]
    scores = 0 if load.kernels != "own" else shape.heads * load.longest
    layer = saved_per_token(shape, load) + scores
    kept = shape.hidden * shape.layers + layer if load.checkpointing else layer * shape.layers
    temporary = GATE_TEMPORARIES * shape.intermediate + 2 * scores
    return load.tokens * (kept + temporary) * width


def saved_per_token(shape: ModelShape, load: Load) -> int:
    """Numbers that one layer keeps for one token, besides the attention's probabilities.

    Both norms' inputs and outputs, queries and what attention makes of them, keys and values, five of the MLP's
    inner width, and what the adapters make of their inputs; with dropout, each adapted layer's own input too.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    kept = 4 * shape.hidden + 2 * queries + 2 * keys + 5 * shape.intermediate
    if load.rank == 0:
        return kept
    low = load.rank * sum(layer.count for layer in shape.linears) // shape.layers
    dropped = (
        sum(layer.inputs * layer.count for layer in shape.linears) // shape.layers if load.dropout else 0
    )
    return kept + low + dropped


def logit_bytes(shape: ModelShape, load: Load) -> int:
    """Chunks of logits, only where a token is trained; a trained output's gradient is made beside them."""
    trained = load.tokens * min(1.0, UNEVEN * load.trained_share)
    chunk = min(LOGIT_BYTES, int(4 * trained * shape.vocab))
    if load.kernels != "own":
        chunk = int(4 * trained * min(shape.vocab, KERNEL_TILE))
    return LOGIT_COPIES * chunk + (2 * 4 * shape.vocab * shape.hidden if load.head else 0)
