"""Choice of the Metal kernels of mlx-train-perf on a Mac, and the plan's reason where it does not take them."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from engine.config.schema import TrainConfig
from engine.hardware.probe import PACKAGES, Machine, installed, mlx_verified
from engine.models.formulas import decoder
from engine.models.shape import ModelShape
from engine.planning.plan import Plan
from tests import plan_fixtures as fixtures
from tests.plan_fixtures import planned

MLX = {"mlx": "0.32.0", "mlx_lm": "0.32.2"}
KNOWN = frozenset({"llama", "gemma3_text"})
BARE = dataclasses.replace(fixtures.MPS, packages=fixtures.CPU.packages | MLX, mlx_architectures=KNOWN)
MAC = dataclasses.replace(
    BARE, packages=BARE.packages | {"mlx_train_perf": "0.9.0"}, mlx_verified=frozenset({"0.31.2", "0.32.0"})
)
CONFIG = {
    "num_hidden_layers": 8,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_attention_heads": 8,
    "vocab_size": 32000,
    "tie_word_embeddings": True,
}
LLAMA = decoder("llama", CONFIG)


def plan(machine: Machine = MAC, shape: ModelShape = LLAMA, **sections: Any) -> Plan:
    settled = fixtures.plan(machine, shape, **sections)
    assert settled.backend == "mlx"
    return settled


def test_mac_takes_verified_kernels() -> None:
    """The plan says so."""
    settled = plan()
    assert settled.kernels == "mlx-train-perf"
    assert "mlx-train-perf 0.9.0" in settled.reasons["kernels"]
    assert ("kernels", "mlx-train-perf", settled.reasons["kernels"]) in settled.lines()
    assert settled.packing
    assert "no mask" in settled.reasons["packing"]


@pytest.mark.parametrize(
    ("machine", "shape", "sections", "words"),
    [
        (BARE, LLAMA, {}, "not installed (pip install 'ft-studio[mlx-fast]')"),
        (
            dataclasses.replace(MAC, packages=MAC.packages | {"mlx": "0.32.4"}),
            LLAMA,
            {},
            "0.9.0 is installed, but its kernels are not verified for mlx 0.32.4 (verified: 0.31.2, 0.32.0)",
        ),
        (
            MAC,
            decoder("llama", CONFIG | {"head_dim": 80}),
            {},
            "heads of 64, 96, 128, and the model's have 80",
        ),
        (MAC, decoder("gemma3_text", CONFIG), {}, "not for gemma3_text"),
        (MAC, LLAMA, {"training": {"precision": "fp16"}}, "not in fp16"),
    ],
    ids=["not installed", "unverified", "heads", "kind", "fp16"],
)
def test_mac_without_fitting_kernels_keeps_own(
    machine: Machine, shape: ModelShape, sections: dict[str, Any], words: str
) -> None:
    """The plan says why."""
    settled = plan(machine, shape, **sections)
    assert settled.kernels == "own"
    assert words in settled.reasons["kernels"]


def test_plan_off_apple_gpu_names_no_kernels() -> None:
    linux = dataclasses.replace(fixtures.CPU, packages=MAC.packages | {"mlx_cpu": "0.32.0"}, mlx_architectures=KNOWN,
                                mlx_verified=MAC.mlx_verified)  # fmt: skip
    config = TrainConfig.model_validate({"backend": "mlx", "model": {"base": "m"}, "data": {"train": "d"}})
    settled = planned(config, linux, LLAMA, np.full(64, 128, np.int64), 0.5)
    assert (settled.backend, settled.device) == ("mlx", "cpu")
    assert settled.kernels == "own"
    assert "kernels" not in settled.reasons
    assert not any(name == "kernels" for name, _, _ in settled.lines())


def test_kernel_memory_grows_linearly_with_row_length() -> None:
    """Without the kernels it grows with the square of the length."""

    def peak(machine: Machine, length: int) -> int:
        training = {"gradient_checkpointing": True, "batch_size": 1}
        rows = fixtures.plan(
            machine, LLAMA, [length] * 16, model={"max_seq_length": length}, training=training
        )
        return rows.memory.activations

    assert peak(MAC, 8192) < 2.1 * peak(MAC, 4096)
    assert peak(BARE, 8192) > 3 * peak(BARE, 4096)


def test_plan_without_kernels_field_is_read() -> None:
    body = fixtures.flat(plan())
    assert Plan.from_json(json.dumps(body)).kernels == "mlx-train-perf"
    del body["kernels"]
    assert Plan.from_json(json.dumps(body)).kernels == "own"


@pytest.mark.skipif(
    importlib.util.find_spec("mlx_train_perf") is None, reason="mlx-train-perf is not installed"
)
def test_verified_mlx_versions_match_kernel_package() -> None:
    """The probe does not import the package for it."""
    from mlx_train_perf import _compat

    assert mlx_verified() == _compat.VERIFIED_MLX_VERSIONS
    assert installed(PACKAGES)["mlx_train_perf"]
    code = (
        "import sys; from engine.hardware.probe import probe; probe(); print('mlx_train_perf' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True).strip() == "False"
