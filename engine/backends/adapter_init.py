"""Initial values of an adapter: drawn in numpy, so that a seed means the same start on every backend."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import ConfigError

FROM_WEIGHTS = ("pissa", "olora")
"""Starts that come out of the weights: W is left with W - s B A."""
PISSA_PASSES = 16
"""Passes of the randomised SVD (arXiv:2404.02948, section 3): seconds where an exact one takes hours."""
ORTHOGONAL_SCALE = 0.1
"""Scale of PEFT's orthogonal start."""
Float32 = npt.NDArray[np.float32]
Factors = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""A `[rank, inputs]` and B `[outputs, rank]`."""
Product = Callable[[Float32], Float32]


@dataclass(frozen=True)
class Layer:
    """A linear layer that gets an update B A: A `[rank, inputs]`, B `[outputs, rank]`."""

    rank: int
    inputs: int
    outputs: int
    products: Callable[[], tuple[Product, Product]]
    """Products of its weights W `[outputs, inputs]` with columns, as x → W x and y → Wᵀ y, on their device.
    Raises ConfigError where they are held in few bits."""


def draw_start(
    layers: Mapping[str, Layer], init: str, seed: int, scale: float, rank: int
) -> Iterator[tuple[str, Float32, Float32]]:
    """A and B of every layer, by its path in transformers' model: what `adapter.init` says, as PEFT defines it.

    `scale` is what B A is multiplied by, `rank` the recipe's. Layers draw in the order of their names, so the same
    seed, layers and weights give the same values. Raises ConfigError where a layer has fewer main parts than `rank`.
    """
    draw = np.random.default_rng(seed)
    for name, layer in sorted(layers.items()):
        if init in FROM_WEIGHTS and rank > min(layer.inputs, layer.outputs):
            raise ConfigError(
                f"adapter.rank: {rank} is more than the main parts of {name}, "
                f"which is {layer.outputs} by {layer.inputs}",
                f"Use a lower rank for init: {init}, or init: default.",
            )
        a, b = _factors(layer, init, draw, scale, rank)
        # safetensors writes an array as it lies in memory
        yield name, np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32)


def scaling(alpha: float, rank: int, rank_stabilised: bool = False) -> float:
    """Factor of the low-rank update: alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv:2312.03732)."""
    return alpha / rank**0.5 if rank_stabilised else alpha / rank


def doubled(alpha: float, rank_stabilised: bool) -> float:
    """The alpha with which twice the rank has the same scale."""
    return alpha * (2**0.5 if rank_stabilised else 2)


def _factors(layer: Layer, init: str, draw: np.random.Generator, scale: float, rank: int) -> Factors:
    if init == "pissa":
        return _main_parts(layer, draw, scale)
    if init == "olora":
        return _first_columns(layer)
    if init == "orthogonal":
        return _orthogonal(layer, draw)
    # LoftQ puts its own in place of the default's.
    return _random_a(layer, init, draw, rank), np.zeros((layer.outputs, layer.rank))


def quantised_start(init: str) -> ConfigError:
    """Error for a start that would come out of weights held in few bits."""
    return ConfigError(
        f"adapter.init: {init} takes its start out of the weights, which this model holds in few bits",
        "Use init: default, or the unquantised model.",
    )


def _random_a(layer: Layer, init: str, draw: np.random.Generator, rank: int) -> npt.NDArray[np.float64]:
    """Kaiming-uniform with a = sqrt(5), which is U(-1/sqrt(inputs), 1/sqrt(inputs)); `gaussian`: N(0, 1/rank²)."""
    shape = (layer.rank, layer.inputs)
    if init == "gaussian":
        return draw.normal(0, 1 / rank, shape)
    bound = layer.inputs**-0.5
    return draw.uniform(-bound, bound, shape)


def _orthogonal(layer: Layer, draw: np.random.Generator) -> Factors:
    """Both are drawn in halves of one orthogonal basis of the rank's space, so that B A is zero."""
    basis = np.linalg.qr(draw.standard_normal((layer.rank, layer.rank)))[0]
    half = layer.rank // 2
    a = (draw.standard_normal((layer.inputs, half)) @ basis[0::2]).T
    b = draw.standard_normal((layer.outputs, half)) @ basis[1::2]
    return ORTHOGONAL_SCALE * a, ORTHOGONAL_SCALE * b


def _main_parts(layer: Layer, draw: np.random.Generator, scale: float) -> Factors:
    """PiSSA: s B A is the part of W along its largest singular values, shared evenly by B and A.

    A randomised SVD by power iteration, with as many columns as ranks (Halko et al. 2011, arXiv:0909.4061,
    algorithms 4.4 and 5.1), as in torch.svd_lowrank.
    """
    times, transposed = layer.products()
    basis = _basis(times(draw.standard_normal((layer.inputs, layer.rank)).astype(np.float32)))
    for _ in range(PISSA_PASSES):
        basis = _basis(times(_basis(transposed(basis))))
    inner, triangle = np.linalg.qr(transposed(basis))
    left, values, right = np.linalg.svd(triangle.T)
    root = np.sqrt(values / scale)
    return root[:, None] * (right @ inner.T), (basis @ left) * root


def _first_columns(layer: Layer) -> Factors:
    """OLoRA: B is the first columns of Q, A the first rows of R in W = Q R; both follow from W's first columns."""
    times, transposed = layer.products()
    b = _basis(times(np.eye(layer.inputs, layer.rank, dtype=np.float32)))
    return transposed(b).T, b


def _basis(columns: Float32) -> Float32:
    """Orthonormal columns that span the same space."""
    basis: Float32 = np.linalg.qr(columns)[0]
    return basis
