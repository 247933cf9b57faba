"""A step of the MLX backend taken apart: its parts are computed one by one, each timed from finished inputs to outputs.

MLX has no profiler that tells a compiled step's parts, for they are fused. So the step runs uncompiled, and each part
becomes a function that waits for its inputs, computes immediately and says how long that took, forward and back. This
gives up what fusion and laziness save: the shares are those of the parts done alone, not of the compiled step. What is
left, residual sums, the embedding, and Python that builds the graph, is the rest.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
from mlx import nn

import engine.backends.mlx.causal_lm as own
from benchmarks.profile_parts import (
    ADAPTER,
    ATTENTION,
    DATA,
    ELEMENTWISE,
    FROZEN,
    HEAD,
    OPTIMIZER,
    REST,
    Work,
)
from engine.backends.mlx.layers import LoraLinear

Compute = Callable[..., Any]
spent: Counter[str] = Counter()
"""Seconds by part."""


def profiled(work: Work, steps: int) -> Counter[str]:
    """Seconds of each part in `steps` steps, after one that is not counted; says what the compiled step takes."""
    trainer = work.trainer
    timed_steps(work, steps)  # compiles every shape
    compiled = timed_steps(work, steps)
    trainer._gradients = {packed: partial(trainer._accumulated, packed) for packed in (False, True)}
    for name in ("_norm", "_moved"):
        setattr(trainer, name, at_once(OPTIMIZER, getattr(trainer, name)))
    take_apart(trainer.model.network.layers[0])
    whole = timed_steps(work, steps)
    spent[REST] = whole - sum(spent.values())
    print(f"mlx: the compiled step takes {compiled / whole:.2f} of the time of its parts", file=sys.stderr)
    return spent


def timed_steps(work: Work, steps: int) -> float:
    """Seconds of `steps` steps after a first one."""
    whole = 0.0
    for number in range(steps + 1):
        if number == 1:
            spent.clear()
            whole = time.perf_counter()
        batches = at_once(DATA, work.batches)(number)
        work.take_step(batches, number)
    return time.perf_counter() - whole


def take_apart(layer: Any) -> None:
    """Time the parts of all layers like this one, by what they are made of."""
    code: Any = sys.modules[type(layer.self_attn).__module__]
    apart(nn.Linear, FROZEN)
    apart(type(layer.input_layernorm), ELEMENTWISE)
    apart(type(layer.self_attn.rope), ELEMENTWISE)
    update = LoraLinear._update

    def updated(self: Any, x: mx.array) -> mx.array:
        def of(x: mx.array, a: mx.array, b: mx.array) -> mx.array:
            self.lora_A, self.lora_B = a, b  # what is only captured would take no gradient
            return update(self, x)

        return timed(ADAPTER, of)(x, self.lora_A, self.lora_B)  # type: ignore[no-any-return]

    LoraLinear._update = updated  # type: ignore[method-assign]
    attend, gate, loss = code.scaled_dot_product_attention, code.swiglu, own.head_loss

    def attended(q: mx.array, k: mx.array, v: mx.array, **named: Any) -> mx.array:
        return timed(ATTENTION, partial(attend, **named))(q, k, v)  # type: ignore[no-any-return]

    def lost(head: Any, trained: bool) -> Compute:
        of = loss(head, trained)
        return lambda hidden, *rest: timed(HEAD, lambda hidden: of(hidden, *rest))(hidden)

    code.scaled_dot_product_attention, code.swiglu = attended, timed(ELEMENTWISE, gate)
    own.head_loss = lost


def apart(kind: Any, part: str) -> None:
    """Time the call of a class of frozen modules, whose first argument takes a gradient."""
    plain = kind.__call__

    def call(self: Any, x: mx.array, *rest: Any, **named: Any) -> mx.array:
        return timed(part, lambda x: plain(self, x, *rest, **named))(x)  # type: ignore[no-any-return]

    kind.__call__ = call


def timed(part: str, compute: Compute) -> Compute:
    """`compute`, from arrays to one array, waited for and timed forward and back."""

    @mx.custom_function
    def run(*arrays: mx.array) -> Any:
        return at_once(part, compute)(*arrays)

    @run.vjp
    def back(primals: Any, cotangent: Any, _outputs: Any) -> Any:
        arrays = list(primals) if isinstance(primals, tuple | list) else [primals]
        mx.eval(arrays, cotangent)
        gradients = at_once(part, lambda: mx.vjp(compute, arrays, [cotangent])[1])()
        return tuple(gradients) if len(arrays) > 1 else gradients[0]

    return run  # type: ignore[no-any-return]


def at_once(part: str, compute: Compute) -> Compute:
    """`compute` with its inputs finished before, and its outputs within, the time that it counts for `part`."""

    def run(*arguments: Any) -> Any:
        mx.eval([argument for argument in arguments if isinstance(argument, mx.array | dict)])
        started = time.perf_counter()
        outputs = compute(*arguments)
        if part != DATA:  # numpy's
            mx.eval(outputs)
        spent[part] += time.perf_counter() - started
        return outputs

    return run
