"""Folders of GPTQ, AWQ and MLX are named as what they are, with what to take in their place."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.backends.mlx.convert import convert
from engine.config.load import load_text
from engine.errors import ModelError
from engine.hardware.probe import probe
from engine.inference.generation import Generator
from engine.models.card import card_of
from engine.models.resolve import resolve
from engine.models.sizing import shape_of
from engine.planning.backend_choice import choose_backend
from engine.planning.estimate import estimate
from engine.planning.trainability import TrainableModels
from ft.cli import main
from tests.tiny import change_model
from tests.training import recipe_text, write_rows

SETTINGS: dict[str, dict[str, Any]] = {
    "GPTQ": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    "AWQ": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
}


@pytest.fixture(params=["GPTQ", "AWQ", "MLX"])
def packed(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> tuple[str, Path]:
    folder = tmp_path / "packed"
    if request.param == "MLX":
        folder.mkdir()
        convert(tiny_model, folder, "4bit")
        return "MLX", folder
    return request.param, change_model(tiny_model, folder, quantization_config=SETTINGS[request.param])


def instead(method: str) -> str:
    return "backend: mlx" if method == "MLX" else "made from"


def test_plan_refuses_packed_model_with_alternative(packed: tuple[str, Path], tmp_path: Path) -> None:
    method, folder = packed
    config = load_text(recipe_text(folder, write_rows(tmp_path), backend="peft"), tmp_path / "t.yml").config
    with pytest.raises(ModelError, match=f"4-bit {method}") as raised:
        estimate(config)
    assert instead(method) in raised.value.hint
    assert raised.value.exit_code == 4


def test_generation_refuses_packed_model_with_alternative(packed: tuple[str, Path]) -> None:
    method, folder = packed
    with pytest.raises(ModelError, match=f"4-bit {method}") as raised:
        Generator.open(folder, None)
    assert instead(method) in raised.value.hint


def test_model_list_shows_packed_format(
    packed: tuple[str, Path], ft_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method, folder = packed
    (ft_home / "models").mkdir(parents=True)
    (ft_home / "models" / "mine").symlink_to(folder)
    assert card_of(folder).held == f"4-bit {method}"
    (model,) = (model for model in TrainableModels().list() if model.entry.name == "mine")
    reasons = [fit.reason for fit in model.fits]
    assert all(f"4-bit {method}" in reason for reason in reasons)
    assert main(["models", "show", "mine"]) == 0
    assert f"4-bit {method}" in capsys.readouterr().out


def test_mlx_trains_its_own_packed_model(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    convert(tiny_model, tmp_path / "mlx", "4bit")
    config = load_text(
        recipe_text(tmp_path / "mlx", Path("rows.jsonl"), backend="mlx"), tmp_path / "t.yml"
    ).config
    assert choose_backend(probe(), config, shape_of(tmp_path / "mlx")).backend == "mlx"


def test_stale_index_beside_weights_is_ignored(tiny_model: Path, tmp_path: Path) -> None:
    folder = change_model(tiny_model, tmp_path / "stale")
    shards = {f"layer.{n}": f"model-0000{n}-of-00004.safetensors" for n in range(1, 5)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert resolve(str(folder)).folder == folder
    assert card_of(folder).held == "fp32"
    Generator.open(folder, None)
