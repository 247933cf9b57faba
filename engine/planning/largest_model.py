"""The largest model that can be trained on this machine: the plan's own arithmetic over a ladder of common shapes."""

from engine.hardware.probe import Machine
from engine.models.formulas import plain_decoder
from engine.planning.feasibility import fits_of
from engine.planning.ways import METHODS

LADDER: tuple[tuple[str, str, int, int, int, int, int, int], ...] = (
    ("135M", "llama", 30, 576, 1536, 9, 3, 49152),
    ("360M", "llama", 32, 960, 2560, 15, 5, 49152),
    ("0.5B", "qwen2", 24, 896, 4864, 14, 2, 151936),
    ("1.5B", "qwen2", 28, 1536, 8960, 12, 2, 151936),
    ("3B", "qwen2", 36, 2048, 11008, 16, 2, 151936),
    ("7B", "qwen2", 28, 3584, 18944, 28, 4, 152064),
    ("14B", "qwen2", 48, 5120, 13824, 40, 8, 152064),
    ("32B", "qwen2", 64, 5120, 27648, 40, 8, 152064),
    ("72B", "qwen2", 80, 8192, 29568, 64, 8, 152064),
)
"""Size, then as in config.json of SmolLM2 and Qwen2.5: kind, layers, hidden, intermediate, heads, key-value
heads, vocabulary."""
UNTIED_HIDDEN = 3584
"""From this width on, those models have an output matrix of their own."""


def largest_trainable(machine: Machine) -> dict[str, str]:
    """The largest size that fits with room to spare, by method; a method that cannot do any is left out.

    Rows of 512 tokens, half of them trained (see `engine.planning.feasibility`); memory is what is free now.
    """
    found: dict[str, str] = {}
    still = set(METHODS)
    for size, kind, layers, hidden, intermediate, heads, kv_heads, vocab in LADDER:
        tied = hidden < UNTIED_HIDDEN
        shape = plain_decoder(kind, layers, hidden, intermediate, heads, kv_heads, vocab, tied)
        for fit in fits_of(shape, machine):
            if fit.fits != "yes":
                still.discard(fit.method)
            elif fit.method in still:
                found[fit.method] = size
        if not still:
            break
    return found
