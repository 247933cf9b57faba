"""Choice of a plan's backend, the reasons against the others, and each one's reading of a recipe."""

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine.backend_spec import BackendName
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, FtError, MachineError
from engine.hardware.probe import Machine
from engine.models.formulas import decoder
from engine.models.shape import Linear, ModelShape
from engine.planning.backend_choice import choose_backend
from engine.planning.comparison import Comparison, compare
from engine.planning.plan import Plan
from ft.commands.plan_backends import table
from tests import plan_fixtures as fixtures
from tests.plan_fixtures import CPU, planned

TORCH = {"torch": "2.13.0", "transformers": "5.17.0", "peft": "0.21.2"}
MLX = {"mlx": "0.32.4", "mlx_lm": "0.32.2"}
KNOWN = frozenset({"llama", "qwen2"})
LINUX = dataclasses.replace(
    CPU, packages={**CPU.packages, **MLX, "mlx_cpu": "0.32.4"}, mlx_architectures=KNOWN
)
CUDA = dataclasses.replace(fixtures.CUDA, packages=LINUX.packages, mlx_architectures=KNOWN)
MAC = dataclasses.replace(fixtures.MPS, packages={**TORCH, **MLX}, mlx_architectures=KNOWN)
CONFIG = {
    "num_hidden_layers": 8,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_attention_heads": 8,
    "vocab_size": 32000,
    "tie_word_embeddings": True,
}
LLAMA = decoder("llama", CONFIG)


def recipe(**sections: Any) -> TrainConfig:
    return TrainConfig.model_validate({"model": {"base": "m"}, "data": {"train": "rows"}} | sections)


def plan(machine: Machine, config: TrainConfig, shape: ModelShape = LLAMA) -> Plan:
    return planned(config, machine, shape, np.full(64, 128, np.int64), 0.5)


def compared(machine: Machine, config: TrainConfig, shape: ModelShape = LLAMA) -> Comparison:
    return compare(config, machine, shape, lambda changed: plan(machine, changed, shape))


# What auto takes


@pytest.mark.parametrize(
    ("machine", "backend", "device"), [(LINUX, "peft", "cpu"), (CUDA, "peft", "cuda"), (MAC, "mlx", "mps")]
)
def test_auto_backend_suits_machine(machine: Machine, backend: str, device: str) -> None:
    settled = plan(machine, recipe())
    assert (settled.backend, settled.device) == (backend, device)


def test_auto_backend_explains_avoiding_mlx_on_linux() -> None:
    assert "not mlx: without Apple's GPU it is slower than torch" in plan(LINUX, recipe()).reasons["backend"]


def test_mac_without_mlx_plans_peft() -> None:
    """The plan says what is missing."""
    settled = plan(dataclasses.replace(MAC, packages=TORCH), recipe())
    assert settled.backend == "peft"
    assert "not mlx: The mlx backend needs mlx and mlx_lm" in settled.reasons["backend"]


def test_model_unknown_to_mlx_plans_peft() -> None:
    """The plan says why."""
    settled = plan(MAC, recipe(), decoder("phi3", CONFIG))
    assert settled.backend == "peft"
    assert "no code for models of the kind phi3" in settled.reasons["backend"]


def test_named_experts_plan_peft_backend() -> None:
    """The plan says why."""
    experts = (
        Linear("gate_proj", 512, 2816, 32),
        Linear("up_proj", 512, 2816, 32),
        Linear("down_proj", 1408, 512, 32),
    )
    mixture = dataclasses.replace(LLAMA, linears=LLAMA.linears[:4], experts=experts)
    assert plan(MAC, recipe(), mixture).backend == "mlx"
    named = recipe(adapter={"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]})
    settled = plan(MAC, named, mixture)
    assert settled.backend == "peft"
    assert "gate_proj, up_proj, down_proj are a mixture's experts" in settled.reasons["backend"]
    columns = {column.backend: column for column in compared(MAC, named, mixture).columns}
    assert columns["mlx"].keys["adapter.target_modules"].support == "refused"
    assert columns["peft"].picked
    with pytest.raises(ConfigError, match="experts, which ft does not train with MLX"):
        plan(MAC, named.model_copy(update={"backend": "mlx"}), mixture)


def test_key_refused_by_mlx_plans_peft() -> None:
    """The plan says why."""
    settled = plan(MAC, recipe(adapter={"type": "vera"}))
    assert settled.backend == "peft"
    assert "not mlx: adapter.type: vera is not for mlx" in settled.reasons["backend"]


def test_quantised_plan_on_mac_takes_mlx() -> None:
    assert plan(MAC, recipe(model={"base": "m", "quantization": "4bit"})).backend == "mlx"


# Requested by name


@pytest.mark.parametrize("machine", [LINUX, CUDA])
def test_mlx_plan_on_linux_uses_cpu_fp32(machine: Machine) -> None:
    settled = plan(machine, recipe(backend="mlx"))
    assert (settled.backend, settled.device, settled.compute_dtype) == ("mlx", "cpu", "fp32")
    assert "as set in train.yml" in settled.reasons["backend"]


def test_mlx_plan_precision_on_apple_gpu() -> None:
    """An adapter trains in bf16, every weight in fp32."""
    adapter, full = plan(MAC, recipe()), plan(MAC, recipe(adapter={"type": "none"}))
    assert (adapter.weights_dtype, adapter.compute_dtype) == ("bf16", "bf16")
    assert (full.weights_dtype, full.compute_dtype) == ("fp32", "bf16")


@pytest.mark.parametrize("asked", ["bf16", "fp16", "fp32"])
def test_mlx_plan_on_cpu_takes_requested_precision(asked: str) -> None:
    settled = plan(LINUX, recipe(backend="mlx", training={"precision": asked}))
    assert (settled.weights_dtype, settled.compute_dtype) == (asked, asked)


def test_requested_backend_must_know_model() -> None:
    """Else it is an error with a hint."""
    with pytest.raises(ConfigError, match="no code for models of the kind phi3") as refused:
        plan(MAC, recipe(backend="mlx"), decoder("phi3", CONFIG))
    assert "backend: peft" in refused.value.hint


def test_requested_backend_not_installed_gives_hint() -> None:
    with pytest.raises(MachineError, match="mlx_lm") as refused:
        plan(dataclasses.replace(LINUX, packages=TORCH), recipe(backend="mlx"))
    assert "pip install" in refused.value.hint


def test_mlx_backend_on_linux_needs_cpu_package() -> None:
    """Without it MLX is not installed."""
    machine = dataclasses.replace(LINUX, packages={**TORCH, **MLX})
    with pytest.raises(MachineError, match="mlx_cpu"):
        plan(machine, recipe(backend="mlx"))


def test_key_refused_by_requested_backend_gives_hint() -> None:
    with pytest.raises(ConfigError, match=r"adapter\.type: vera") as refused:
        plan(LINUX, recipe(backend="mlx", adapter={"type": "vera"}))
    assert refused.value.hint


# What ft plan --backend all shows


def test_backend_table_marks_emulated_keys() -> None:
    shown = compared(LINUX, recipe(model={"base": "m", "quantization": "4bit"}))
    mlx = next(one for one in shown.columns if one.backend == "mlx")
    assert mlx.keys["model.quant_type"].support == "emulated"
    assert mlx.keys["model.double_quant"].support == "emulated"
    assert mlx.keys["model.quantization"].support == "direct"


def test_backend_table_shows_contents_of_lists() -> None:
    adapter = {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    console = Console(width=200, file=io.StringIO())
    console.print(table(compared(LINUX, recipe(adapter=adapter))))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[q_proj]" in shown
    assert "[lm_head]" in shown


def test_backend_table_omits_irrelevant_recipe_keys() -> None:
    shown = compared(LINUX, recipe(adapter={"type": "none"}))
    assert not {"model.quant_type", "model.double_quant", "adapter.target_modules"} & set(shown.values)


def test_backend_table_resolves_auto_values() -> None:
    shown = compared(MAC, recipe())
    assert [one.settled["training.precision"] for one in shown.columns if one.plan] == ["bf16", "bf16"]
    assert shown.values["training.precision"] == "auto"


def test_backend_table_picks_one_backend() -> None:
    for machine in (LINUX, CUDA, MAC):
        picked = [one for one in compared(machine, recipe()).columns if one.picked]
        assert len(picked) == 1
        assert picked[0].plan is not None


@pytest.mark.parametrize("machine", [LINUX, CUDA, MAC], ids=["linux", "cuda", "mac"])
@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"adapter": {"type": "vera"}},
        {"adapter": {"type": "none"}},
        {"model": {"base": "m", "quantization": "8bit"}},
        {"training": {"precision": "fp16"}},
        {"training": {"precision": "bf16"}},
    ],
    ids=str,
)
def test_backend_table_refuses_as_plan_does(machine: Machine, sections: dict[str, Any]) -> None:
    config = recipe(**sections)
    for one in compared(machine, config).columns:
        asked = config.model_copy(update={"backend": one.backend})
        if one.plan is None:
            with pytest.raises(FtError, match=re.escape(one.problem)):
                plan(machine, asked)
        else:
            assert plan(machine, asked) == one.plan
            assert all(found.support != "refused" for found in one.keys.values())


# Memory


@pytest.mark.parametrize("backend", ["mlx"])
def test_mlx_memory_plan_follows_settings(backend: BackendName) -> None:
    def peak(**sections: Any) -> int:
        return plan(LINUX, recipe(backend=backend, **sections)).memory.peak_bytes

    plain = peak(training={"gradient_checkpointing": False})
    assert peak(training={"gradient_checkpointing": True}) < plain
    assert peak(training={"gradient_checkpointing": False}, adapter={"rank": 64}) > plain
    assert peak(training={"gradient_checkpointing": False}, adapter={"dropout": 0.1}) > plain
    assert peak(training={"gradient_checkpointing": False}, adapter={"type": "none"}) > plain
    quantised = plan(LINUX, recipe(backend=backend, model={"base": "m", "quantization": "4bit"})).memory
    assert quantised.weights < plan(LINUX, recipe(backend=backend)).memory.weights / 2


def test_backend_choice_works_without_recipe() -> None:
    assert choose_backend(MAC).note == "mlx on Apple M2: made for Apple silicon"
