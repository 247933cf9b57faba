"""The tables of what each backend can do, against the schema and the real packages."""

import dataclasses
import importlib
import pkgutil

import numpy as np
import pytest

from engine.capabilities import CAPABILITIES, ON_DEVICE, TRANSLATIONS
from engine.config.rules import alternatives, choices, recipe_schema
from engine.hardware.probe import mlx_architectures
from engine.planning.backends import NEEDS
from engine.planning.key_support import refusal
from tests.plan_fixtures import CUDA, recipe


def test_every_backend_of_the_schema_can_be_chosen() -> None:
    named = {word for word in choices(recipe_schema()["properties"]["backend"]) if word != "auto"}
    assert named == set(NEEDS)


def test_the_tables_speak_of_keys_and_values_that_exist() -> None:
    keys = [(key, table) for (_, key), table in TRANSLATIONS.items()]
    keys += [(key, table) for (_, _, key), table in ON_DEVICE.items()]
    schema = recipe_schema()
    for key, table in keys:
        section, name = key.split(".")
        found = schema["$defs"][section.title()]["properties"][name]
        switch = any(branch.get("type") == "boolean" for branch in alternatives(found))
        assert set(table) <= {"*", *choices(found), *(("true", "false") if switch else ())}, key


def test_what_is_refused_on_a_device_is_what_its_capability_lacks() -> None:
    sets = {
        "adapter.type": "adapters",
        "model.quantization": "quantizations",
        "training.precision": "precisions",
        "training.optimizer": "optimizers",
    }
    for (backend, device, key), table in ON_DEVICE.items():
        able = getattr(CAPABILITIES[backend, device], sets.get(key, ""), ())
        refused = {value for value, found in table.items() if found.support == "refused"}
        assert not refused & set(able)
        assert all(found.hint for found in table.values() if found.support == "refused")


def test_every_plain_recipe_is_refused_by_no_backend() -> None:
    for backend, device in CAPABILITIES:
        machine = dataclasses.replace(CUDA, device=device)
        assert refusal(recipe(), backend, machine) is None


def test_mlx_lm_really_has_the_architectures_that_the_probe_lists() -> None:
    utils = pytest.importorskip("mlx_lm.utils")
    models = importlib.import_module("mlx_lm.models")
    known = mlx_architectures()
    assert {"llama", "mistral", "qwen3", "gemma3_text", "phi3", "gpt2", "smollm3"} <= known
    assert set(utils.MODEL_REMAPPING) <= known
    assert {module.name for module in pkgutil.iter_modules(models.__path__)} <= known
    assert utils._get_classes({"model_type": "mistral"})[0].__module__ == "mlx_lm.models.llama"
    with pytest.raises(ValueError, match="not supported"):
        utils._get_classes({"model_type": "no_such_model"})


@pytest.mark.parametrize("bits", [4, 8])
def test_mlx_quantises_as_the_memory_plan_counts(bits: int) -> None:
    mx = pytest.importorskip("mlx.core")
    mx.set_default_device(mx.cpu)
    weights = mx.zeros((8, 128), dtype=mx.bfloat16)
    packed = mx.quantize(weights, group_size=64, bits=bits)
    assert sum(part.nbytes for part in packed) * 8 / weights.size == bits + 2 * 16 / 64


def test_mlxs_4_bit_numbers_are_as_near_to_normal_weights_as_nf4() -> None:
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
