"""The specs of ft's own backends, against the schema, the real packages and each other."""

import dataclasses
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest

from engine.backend_spec import (
    BackendSpec,
    Capability,
    Device,
    SupportTable,
    backend_names,
    backend_packages,
    backend_specs,
)
from engine.config.rules import alternatives, choices, recipe_schema
from engine.hardware.probe import PACKAGES, mlx_architectures
from engine.planning.key_support import refusal
from tests.plan_fixtures import CUDA, recipe


def own() -> list[tuple[BackendSpec, Device, Capability]]:
    """Every backend on every device of its."""
    return [(spec, device, able) for spec in backend_specs() for device, able in spec.devices.items()]


def tables() -> list[SupportTable]:
    return [*(spec.support for spec in backend_specs()), *(able.support for _, _, able in own())]


def test_every_backend_in_schema_is_choosable() -> None:
    named = {word for word in choices(recipe_schema()["properties"]["backend"]) if word != "auto"}
    assert (
        named == set(backend_names()) == {spec.name for spec in backend_specs()} == {"mlx", "unsloth", "peft"}
    )


def test_auto_backend_tries_mlx_unsloth_peft() -> None:
    assert [spec.name for spec in backend_specs() if spec.order is not None] == ["mlx", "unsloth", "peft"]


def test_backend_tables_name_existing_recipe_keys() -> None:
    """The values in the tables exist too."""
    schema = recipe_schema()
    for key, table in (entry for support in tables() for entry in support.items()):
        section, name = key.split(".")
        found = schema["$defs"][section.title()]["properties"][name]
        switch = any(branch.get("type") == "boolean" for branch in alternatives(found))
        assert set(table) <= {"*", *choices(found), *(("true", "false") if switch else ())}, key


def test_refused_values_match_missing_backend_capability() -> None:
    sets = {
        "adapter.type": "adapters",
        "model.quantization": "quantizations",
        "training.precision": "precisions",
        "training.optimizer": "optimizers",
    }
    for _, _, able in own():
        for key, table in able.support.items():
            refused = {value for value, found in table.items() if found.support == "refused"}
            assert not refused & set(getattr(able, sets.get(key, ""), ()))


def test_refused_backend_value_says_what_helps() -> None:
    for found in (found for support in tables() for table in support.values() for found in table.values()):
        assert found.hint or (found.support != "refused" and not found.package)


def test_own_backends_train_any_method() -> None:
    assert all(spec.methods is None for spec, _, _ in own())


def test_no_backend_refuses_plain_recipe() -> None:
    for spec, device, _ in own():
        assert refusal(recipe(), spec, dataclasses.replace(CUDA, device=device)) is None


def test_backend_packages_are_probed() -> None:
    """Others are found too, but looked up for every plan."""
    assert set(backend_packages()) <= set(PACKAGES)


def test_stored_backend_speeds_are_still_found() -> None:
    keys = {spec.name: spec.speed_key("cpu", "bf16") for spec in backend_specs()}
    assert keys == {"mlx": "mlx/cpu/bf16", "unsloth": "cpu/bf16", "peft": "cpu/bf16"}


def test_mlx_lm_has_probed_architectures() -> None:
    utils = pytest.importorskip("mlx_lm.utils")
    models = importlib.import_module("mlx_lm.models")
    known = mlx_architectures()
    assert {"llama", "mistral", "qwen3", "gemma3_text", "phi3", "gpt2", "smollm3"} <= known
    assert set(utils.MODEL_REMAPPING) <= known
    own = {module.name for module in pkgutil.iter_modules(models.__path__)}
    sources = {name: (Path(models.__path__[0]) / f"{name}.py").read_text(encoding="utf-8") for name in own}
    ending = {name for name, source in sources.items() if "sys.exit(" in source}
    assert own - known == ending, "a model must not end the program"
    assert utils._get_classes({"model_type": "mistral"})[0].__module__ == "mlx_lm.models.llama"
    with pytest.raises(ValueError, match="not supported"):
        utils._get_classes({"model_type": "no_such_model"})


@pytest.mark.parametrize("bits", [4, 8])
def test_mlx_quantises_as_plan_counts(bits: int) -> None:
    mx = pytest.importorskip("mlx.core")
    mx.set_default_device(mx.cpu)
    weights = mx.zeros((8, 128), dtype=mx.bfloat16)
    packed = mx.quantize(weights, group_size=64, bits=bits)
    assert sum(part.nbytes for part in packed) * 8 / weights.size == bits + 2 * 16 / 64


def test_mlx_4bit_weights_match_nf4_precision() -> None:
    mx = pytest.importorskip("mlx.core")
    functional = pytest.importorskip("bitsandbytes.functional")
    torch = importlib.import_module("torch")
    mx.set_default_device(mx.cpu)
    weights = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
    ours = np.array(
        mx.dequantize(*mx.quantize(mx.array(weights), group_size=64, bits=4), group_size=64, bits=4)
    )
    errors = {"mlx": float(np.square(ours - weights).mean())}
    for kind in ("nf4", "fp4"):
        packed, state = functional.quantize_4bit(torch.tensor(weights), quant_type=kind, blocksize=64)
        errors[kind] = float(np.square(functional.dequantize_4bit(packed, state).numpy() - weights).mean())
    assert errors["mlx"] < 1.05 * errors["nf4"]
    assert errors["mlx"] < errors["fp4"]
