"""Products of a model's weights as it answers: packed by ft, and torch's own, in one run on the same matrices.

    python benchmarks/products.py [--rows 1 16 32 128] [--rounds 5]

The matrices have the shapes of all linear layers of the starter, and random values. Every round multiplies by each of
them once, packed and not packed in turns; the quickest round of each counts.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.backends.torch.packed import Product  # noqa: E402

SHAPES = [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)] * 30
HEAD = (576, 49152)


def main() -> None:
    """Print a table by format and rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'format':10}{'rows':>6}{'torch ms':>10}{'packed ms':>11}{'ratio':>7}")
    for dtype in (torch.float32, torch.bfloat16):
        plain = [nn.Linear(*shape, bias=False, dtype=dtype) for shape in (*SHAPES, HEAD)]
        products = [Product(layer, keep=True) for layer in plain]
        name = str(dtype).removeprefix("torch.")
        if not products[0].packed:
            print(f"{name}: not packed here")
            continue
        for rows in options.rows:
            own, packed = _quickest(rows, plain, products, options.rounds)
            print(f"{name:10}{rows:6}{own * 1e3:10.1f}{packed * 1e3:11.1f}{own / packed:7.2f}")


def _quickest(
    rows: int, plain: Sequence[nn.Linear], products: Sequence[Product], rounds: int
) -> tuple[float, float]:
    """Seconds of the quickest round: torch's own, and packed."""
    inputs = {width: torch.randn(rows, width, dtype=plain[0].weight.dtype) for width in (576, 1536)}

    def seconds(multiply: Sequence[Callable[[torch.Tensor], torch.Tensor]]) -> float:
        began = time.perf_counter()
        for layer, product in zip(plain, multiply, strict=True):
            product(inputs[layer.in_features])
        return time.perf_counter() - began

    with torch.no_grad():
        times = [(seconds(plain), seconds(products)) for _ in range(rounds + 1)][1:]
    return min(own for own, _ in times), min(packed for _, packed in times)


if __name__ == "__main__":
    main()
