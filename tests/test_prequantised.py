"""Weights that are quantised already: trained where that can be, planned as what they are, else refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.load import load_text
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, ModelError
from engine.hardware.probe import probe
from engine.models.prequantized import METHODS, Held, made_from
from engine.models.sizing import shape_of
from engine.planning.backend_choice import candidates
from engine.planning.estimate import estimate
from engine.planning.feasibility import fits_of
from engine.runs.directory.events import Step
from engine.runs.directory.run import Run
from ft.cli import main
from tests.tiny import change_model, copy_tokenizer
from tests.training import recipe_text, write_rows


@pytest.fixture(scope="module", params=[4, 8])
def held(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as somebody publishes it in bitsandbytes' formats."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = tmp_path_factory.mktemp("held") / f"tiny-{request.param}bit"
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    settings = BitsAndBytesConfig(**four if request.param == 4 else {"load_in_8bit": True})
    model = AutoModelForCausalLM.from_pretrained(tiny_model, quantization_config=settings)
    model.save_pretrained(folder)
    return copy_tokenizer(tiny_model, folder)


def config(base: Path, tmp_path: Path, **sections: Any) -> TrainConfig:
    sections = {"backend": "peft"} | sections
    return load_text(recipe_text(base, write_rows(tmp_path), **sections), tmp_path / "train.yml").config


def losses(base: Path, folder: Path, **model: Any) -> list[float]:
    folder.mkdir()
    text = recipe_text(base, write_rows(folder), model=model, backend="peft", training={"max_steps": 3})
    (folder / "train.yml").write_text(text)
    assert main(["train", str(folder / "train.yml"), "--run-dir", str(folder / "run")]) == 0
    return [event.loss for event in Run.open(folder / "run").events() if isinstance(event, Step)]


def test_plan_counts_the_weights_as_the_folder_holds_them(
    held: Path, tiny_model: Path, tmp_path: Path
) -> None:
    plan, plain = estimate(config(held, tmp_path)), estimate(config(tiny_model, tmp_path))
    assert plan.reasons["quantization"].endswith("as the model's folder holds them")
    assert plan.memory.weights < plain.memory.weights
    assert shape_of(held).parameters == shape_of(tiny_model).parameters


@pytest.mark.slow
def test_it_learns_as_the_model_that_ft_quantises_itself(
    held: Path, tiny_model: Path, tmp_path: Path
) -> None:
    bits = shape_of(held).held
    assert bits is not None
    own = {"quantization": bits.quantization} | ({"double_quant": False} if bits.bits == 4 else {})
    made = losses(tiny_model, tmp_path / "made", **own)
    assert losses(held, tmp_path / "held") == pytest.approx(made, rel=2e-3)


def test_what_cannot_be_is_refused_by_name(held: Path, tmp_path: Path) -> None:
    bits = shape_of(held).held
    assert bits is not None
    other = {4: "8bit", 8: "4bit"}[bits.bits]
    with pytest.raises(ConfigError, match=f"{bits.quantization} of bitsandbytes already"):
        estimate(config(held, tmp_path, model={"quantization": other}))
    with pytest.raises(ConfigError, match=f"held in {bits.bits} bits .* would train nothing"):
        estimate(config(held, tmp_path, adapter={"type": "none"}))
    full = next(fit for fit in fits_of(shape_of(held), probe()) if fit.method == "full")
    assert (full.fits, full.plan) == ("no", None)


def test_mlx_says_that_it_cannot_read_it(held: Path) -> None:
    mlx = next(one for one in candidates(probe(), None, shape_of(held)) if one.backend == "mlx")
    assert mlx.problem is not None
    if "mlx" in probe().packages:
        assert "bitsandbytes" in mlx.problem.message


CARD = """---
license: apache-2.0
base_model:
- acme/tiny-instruct
base_model_relation: quantized
---
# Tiny, in few bits
"""


@pytest.mark.parametrize("method", sorted(METHODS))
def test_other_formats_name_the_model_that_they_were_made_from(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    folder = change_model(tiny_model, tmp_path / "packed", quantization_config={"quant_method": method})
    (folder / "README.md").write_text(CARD)
    with pytest.raises(ModelError, match=METHODS[method]) as caught:
        estimate(config(folder, tmp_path))
    assert caught.value.hint.startswith("Use acme/tiny-instruct with model.quantization: 4bit")


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nbase_model: acme/one\n---\n", "acme/one"),
        ('---\nbase_model: "acme/one"\n---\n', "acme/one"),
        (CARD, "acme/tiny-instruct"),
        ("---\nlicense: mit\n---\nbase_model: acme/one\n", None),
        ("no front matter", None),
        ("---\nbase_model: https://example.org\n---\n", None),
    ],
)
def test_base_of_a_model_card(tmp_path: Path, card: str, expected: str | None) -> None:
    (tmp_path / "README.md").write_text(card)
    assert made_from(tmp_path) == expected


def test_folder_without_a_card_names_none(tmp_path: Path) -> None:
    assert made_from(tmp_path) is None


def test_weights_that_are_widened_are_planned_as_wide(tiny_model: Path, tmp_path: Path) -> None:
    """As gpt-oss is published: MXFP4, which transformers widens to bf16 where it has no kernels for it."""
    folder = change_model(tiny_model, tmp_path / "wide", quantization_config={"quant_method": "mxfp4"})
    plan = estimate(config(folder, tmp_path))
    assert plan.reasons["quantization"].startswith("MXFP4 in the model's folder, widened to bf16")
    assert plan.memory.weights == estimate(config(tiny_model, tmp_path)).memory.weights


def test_settings_of_bitsandbytes_are_read() -> None:
    def of(**settings: Any) -> Held | None:
        return Held.of({"quantization_config": {"quant_method": "bitsandbytes"} | settings})

    assert of(load_in_4bit=True, bnb_4bit_quant_type="fp4") == Held(4, "fp4")
    assert of(load_in_4bit=True, bnb_4bit_use_double_quant=True) == Held(4, "nf4", True)
    assert of(load_in_8bit=True) == Held(8)
    assert Held.of({"quantization_config": {"quant_method": "gptq"}}) is None
    assert Held.of({}) is None
