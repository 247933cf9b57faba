"""Machines, models and recipes that plans are made for."""

import dataclasses
import json
from typing import Any

import numpy as np

from engine.config.schema import TrainConfig
from engine.hardware.gpu import Gpu
from engine.hardware.probe import Machine
from engine.models.saved_adapter import SavedAdapter
from engine.models.shape import Linear, ModelShape
from engine.planning.backend_choice import choose_backend
from engine.planning.batch import Caps
from engine.planning.plan import Plan
from engine.planning.planner import UNCAPPED, make_plan
from engine.planning.row_stats import Lengths, RowStats

GB = 1_000_000_000
CPU = Machine(
    system="Linux",
    cpu="a CPU",
    cores=2,
    ram_bytes=24 * GB,
    available_bytes=22 * GB,
    bf16=False,
    device="cpu",
    gpus=(),
    packages={"torch": "2.13.0", "transformers": "5.17.0", "peft": "0.21.2", "bitsandbytes": "0.50.2"},
)
CUDA = dataclasses.replace(
    CPU,
    device="cuda",
    gpus=(Gpu("NVIDIA RTX 3090", 24 * GB, 23 * GB, (8, 6)),),
)
MPS = dataclasses.replace(CPU, system="Darwin", device="mps", gpus=(Gpu("Apple M2", 16 * GB, 16 * GB),))


def with_gpu(machine: Machine, **values: Any) -> Machine:
    """The machine with other values of its first GPU."""
    assert machine.gpu is not None
    return dataclasses.replace(machine, gpus=(dataclasses.replace(machine.gpu, **values), *machine.gpus[1:]))


def llama(hidden: int, layers: int, intermediate: int, heads: int, kv_heads: int, vocab: int) -> ModelShape:
    """The shape of a Llama with a tied output."""
    head_dim = hidden // heads
    linears = tuple(
        Linear(name, inputs, outputs, layers)
        for name, inputs, outputs in (
            ("q_proj", hidden, hidden),
            ("k_proj", hidden, kv_heads * head_dim),
            ("v_proj", hidden, kv_heads * head_dim),
            ("o_proj", hidden, hidden),
            ("gate_proj", hidden, intermediate),
            ("up_proj", hidden, intermediate),
            ("down_proj", intermediate, hidden),
        )
    )
    embedding = vocab * hidden
    matrices = sum(one.inputs * one.outputs * one.count for one in linears)
    return ModelShape(
        architecture="LlamaForCausalLM",
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=vocab,
        tied=True,
        parameters=matrices + embedding + hidden * (2 * layers + 1),
        linears=linears,
        context=8192,
        embedding_parameters=embedding,
    )


SMALL = llama(576, 30, 1536, 9, 3, 49152)
LARGE = llama(4096, 32, 14336, 32, 8, 128256)


def recipe(**sections: dict[str, Any]) -> TrainConfig:
    """A recipe with some values of its own."""
    return TrainConfig.model_validate(
        {"model": {"base": "m"}, "data": {"train": "d"}}
        | {
            name: ({"base": "m"} if name == "model" else {"train": "d"} if name == "data" else {}) | values
            for name, values in sections.items()
        }
    )


def plan(
    machine: Machine = CPU, shape: ModelShape = SMALL, lengths: list[int] | None = None, **sections: Any
) -> Plan:
    """A plan for 160 examples of about 200 tokens, unless said otherwise."""
    rows = np.array(lengths or [100, 200, 300, 400] * 40, np.int64)
    return planned(recipe(**sections), machine, shape, rows, 0.4)


def planned(
    config: TrainConfig,
    machine: Machine,
    shape: ModelShape,
    lengths: Lengths,
    trained_share: float,
    *,
    examples: int | None = None,
    caps: Caps = UNCAPPED,
    start: SavedAdapter | None = None,
) -> Plan:
    """The plan of a recipe, for rows of these lengths or a sample of `examples` rows."""
    rows = RowStats(lengths, trained_share, len(lengths) if examples is None else examples)
    return make_plan(config, machine, choose_backend(machine, config, shape), shape, rows, caps, start)


def flat(plan: Plan) -> dict[str, Any]:
    """A plan.json as ft 0.1.0 wrote it."""
    body: dict[str, Any] = json.loads(plan.to_json())
    parts = [body.pop(part) for part in ("decisions", "work", "estimate")]
    found = {name: value for part in parts for name, value in part.items()} | body
    return {name: value for name, value in found.items() if name not in ("processes", "strategy")}
