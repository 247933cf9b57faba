"""A step of a torch backend taken apart by torch.profiler: every operation goes to one part, by what it is and is in.

Products are told apart by shape: one whose dimensions include the adapter's rank (or that of a few adapters laid
together) is the adapter's, one with the vocabulary is the head's, all others are with frozen weights. Around them, the
profiler itself names the autograd functions that an operation ran in, forward and back, which tells attention and the
loss; optimizer and batches are marked here, from outside. On a CPU an operation's time is its own, without those inside
it, so that all of them and the Python in between make up the step. On CUDA it is the time of the kernels that it
started, and the rest is what the GPU waited.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.profile_parts import (
    ADAPTER,
    ATTENTION,
    DATA,
    ELEMENTWISE,
    FROZEN,
    HEAD,
    OPTIMIZER,
    REST,
    WIDENED,
    Work,
)
from benchmarks.step_cost import RANK
from engine.backends.torch.cpu_attention import CausalAttention
from engine.backends.torch.loss import VOCAB_BLOCK, HeadLoss

STEP = "a step"
PRODUCTS = frozenset(
    {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::matmul"}
)
ATTENTIONS = (
    CausalAttention.__name__.lower(),
    "scaled_dot_product",
    "flash_attn",
    "efficient_attention",
    "flash_attention",
    "xformers",
)
COPIES = frozenset({"aten::copy_", "aten::to", "aten::_to_copy", "aten::empty_strided"})


@dataclass(frozen=True)
class Sizes:
    """The dimensions that tell products apart, and the shapes of what is frozen and of what is trained."""

    ranks: frozenset[int]
    vocabulary: frozenset[int]
    frozen: frozenset[tuple[int, ...]]
    trained: frozenset[tuple[int, ...]]

    @staticmethod
    def of(model: Any, vocabulary: int) -> "Sizes":
        frozen, trained = set(), set()
        for parameter in model.parameters():
            if parameter.dim() == 2:
                shape = tuple(parameter.shape)
                (trained if parameter.requires_grad else frozen).update((shape, shape[::-1]))
        ranks = frozenset(RANK * together for together in (1, 2, 3))  # queries, keys and values; gate and up
        return Sizes(ranks, frozenset({vocabulary, VOCAB_BLOCK}), frozenset(frozen), frozenset(trained))


def profiled(work: Work, steps: int) -> Counter[str]:
    """Seconds of each part in `steps` steps, after one that is not counted."""
    trainer, model = work.trainer, work.trainer.model
    for name in ("_clip", "_move"):
        setattr(trainer, name, marked(OPTIMIZER, getattr(trainer, name)))
    cuda = model.device.type == "cuda"

    def step(number: int) -> None:
        with record_function(STEP):
            with record_function(DATA):
                batches = work.batches(number)
            work.take_step(batches, number)
            if cuda:
                torch.cuda.synchronize()

    step(0)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, record_shapes=True) as record:
        for number in range(1, steps + 1):
            step(number)
    return parted(record.events(), Sizes.of(model.network, model.head.weight.shape[0]), cuda)


def marked(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under a name that the profiler shows."""

    def run(*arguments: Any, **named: Any) -> Any:
        with record_function(part):
            return function(*arguments, **named)

    return run


def parted(events: Iterable[Any], sizes: Sizes, cuda: bool) -> Counter[str]:
    """Seconds by part; all of them together are the time of the steps."""
    parts: Counter[str] = Counter()
    whole = 0.0
    for event in events:
        if event.device_type != DeviceType.CPU:
            continue  # a kernel: its time is also that of the operation that started it
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        whole += event.cpu_time_total / 1e6 if event.name == STEP else 0.0
        parts[part_of(event, sizes)] += own / 1e6
    if not cuda:
        parts[REST] += whole - sum(
            parts.values()
        )  # what the profiler rounds, and operations outside of a step
        return parts
    parts[REST] = max(0.0, whole - sum(seconds for part, seconds in parts.items() if part != REST))
    return parts


def part_of(event: Any, sizes: Sizes) -> str:
    """Part to which an operation's own time belongs."""
    around = list(names(event))
    for part in (OPTIMIZER, DATA):
        if part in around:
            return part
    if any(name.startswith(HeadLoss.__name__) for name in around):
        return HEAD
    if "::" not in event.name and not event.self_device_time_total:
        return REST  # Python in a function, or the engine that calls the next one
    if any(sign in name.lower() for name in around for sign in ATTENTIONS):
        return ATTENTION
    shapes = [tuple(shape) for shape in event.input_shapes or () if shape]
    numbers = {number for shape in shapes for number in shape}
    if event.name in PRODUCTS:
        if sizes.vocabulary & numbers:
            return HEAD
        return ADAPTER if sizes.ranks & numbers else FROZEN
    if sizes.trained & set(shapes):
        return ADAPTER
    if event.name.startswith("bitsandbytes::") or (event.name in COPIES and sizes.frozen & set(shapes)):
        return WIDENED
    return ELEMENTWISE


def names(event: Any) -> Iterator[str]:
    """The event's name, and those of all that it ran in."""
    while event is not None:
        yield event.name
        event = event.cpu_parent
