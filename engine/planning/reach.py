"""How large a model can be trained on this machine: the plan's own arithmetic over a ladder of common shapes."""

from engine.hardware.probe import Machine
from engine.models.sizing import Linear, ModelShape
from engine.planning.fit import METHODS, fits_of

LADDER: tuple[tuple[str, int, int, int, int, int, int], ...] = (
    ("135M", 30, 576, 1536, 9, 3, 49152),
    ("360M", 32, 960, 2560, 15, 5, 49152),
    ("0.5B", 24, 896, 4864, 14, 2, 151936),
    ("1.5B", 28, 1536, 8960, 12, 2, 151936),
    ("3B", 36, 2048, 11008, 16, 2, 151936),
    ("7B", 28, 3584, 18944, 28, 4, 152064),
    ("14B", 48, 5120, 13824, 40, 8, 152064),
    ("32B", 64, 5120, 27648, 40, 8, 152064),
    ("72B", 80, 8192, 29568, 64, 8, 152064),
)
"""Size, layers, hidden, intermediate, heads, key-value heads, vocabulary: SmolLM2's and Qwen2.5's config.json."""
UNTIED_HIDDEN = 3584
"""From this width on, those models have an output matrix of their own."""


def reach(machine: Machine) -> dict[str, str]:
    """The largest size that fits with room to spare, by method; a method that cannot do any is left out.

    Rows of 512 tokens, half of them trained (see `engine.planning.fit`); memory is what is free now.
    """
    found: dict[str, str] = {}
    still = set(METHODS)
    for size, *numbers in LADDER:
        for fit in fits_of(_shape(*numbers), machine):
            if fit.fits != "yes":
                still.discard(fit.method)
            elif fit.method in still:
                found[fit.method] = size
        if not still:
            break
    return found


def _shape(layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocab: int) -> ModelShape:
    head_dim, tied = hidden // heads, hidden < UNTIED_HIDDEN
    narrow = kv_heads * head_dim
    linears = (
        Linear("q_proj", hidden, hidden, layers),
        Linear("k_proj", hidden, narrow, layers),
        Linear("v_proj", hidden, narrow, layers),
        Linear("o_proj", hidden, hidden, layers),
        Linear("gate_proj", hidden, intermediate, layers),
        Linear("up_proj", hidden, intermediate, layers),
        Linear("down_proj", intermediate, hidden, layers),
    )
    embedding = vocab * hidden * (1 if tied else 2)
    norms = (2 * layers + 1) * hidden
    return ModelShape(
        architecture="decoder",
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=vocab,
        tied=tied,
        parameters=embedding + norms + sum(x.inputs * x.outputs * x.count for x in linears),
        linears=linears,
        context=4096,
        embedding_parameters=embedding,
    )
