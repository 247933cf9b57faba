"""Several models merged: the default adds their updates exactly, PEFT's methods say how far from that they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from engine.errors import ConfigError
from engine.merging.several import Combination
from engine.runs.directory.trained_model import TrainedModel
from tests.test_merging import LLAMA, logits, model_of, trained, written
from tests.tiny import change_model

ALL: dict[str, Any] = {"target_modules": LLAMA}


def two(base: Path, folder: Path, *settings: dict[str, Any]) -> list[TrainedModel]:
    """Two adapters with different values."""
    return [trained(base, folder / f"a{seed}", seed=seed, **each)[0] for seed, each in enumerate(settings)]


def logits_of(models: Sequence[TrainedModel], base: Path, folder: Path, **options: Any) -> torch.Tensor:
    with Combination.of(models, options).tensors(base) as (merged, _):
        return logits(written(merged, base, folder))


@pytest.mark.parametrize(
    "settings",
    [
        (ALL, ALL),
        (ALL | {"r": 8}, {"target_modules": ["q_proj", "down_proj"], "r": 2}),
        (ALL | {"use_rslora": True}, ALL | {"use_rslora": True}),
    ],
    ids=["alike", "other ranks and layers", "rsLoRA"],
)
def test_sum_of_two_answers_as_both_adapters_on_the_base(
    settings: tuple[dict[str, Any], ...], tiny_model: Path, tmp_path: Path
) -> None:
    models = two(tiny_model, tmp_path, *settings)
    both = peft.PeftModel.from_pretrained(model_of(tiny_model), models[0].adapter, "a")
    both.load_adapter(models[1].adapter, "b")
    alone = logits(both)
    both.base_model.set_adapter(["a", "b"])
    expected = logits(both)
    assert (alone - expected).abs().max() > 1e-2
    found = logits_of(models, tiny_model, tmp_path / "merged", weights=[1.0, 1.0])
    assert (found - expected).abs().max() < 1e-4


def test_whatever_can_be_merged_can_be_added(tiny_model: Path, tmp_path: Path) -> None:
    """DoRA and a trained embedding: each changes the weights, and the changes are weighed."""
    models = two(
        tiny_model,
        tmp_path,
        ALL | {"use_dora": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    )
    states = []
    for model in models:
        loaded = peft.PeftModel.from_pretrained(model_of(tiny_model), model.adapter)
        whole = loaded.merge_and_unload()
        head = {"lm_head.weight": whole.lm_head.weight}
        states.append({name: value.clone() for name, value in (whole.state_dict() | head).items()})
    base = model_of(tiny_model).state_dict()
    expected = {
        name: value + 0.3 * (states[0][name] - value) + 0.7 * (states[1][name] - value)
        for name, value in base.items()
    }
    with Combination.of(models, {"weights": [0.3, 0.7]}).tensors(tiny_model) as (merged, _):
        assert merged.untied
        for name in merged.infos:
            assert torch.allclose(torch.from_numpy(merged.read(name)), expected[name], atol=1e-5), name


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("linear", {}),
        ("svd", {"rank": 3}),
        ("ties", {"density": 0.4}),
        ("ties_svd", {"density": 0.4}),
        ("magnitude_prune", {}),
    ],
)
def test_other_methods_are_pefts_and_tell_their_distance_from_the_sum(
    method: str, more: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    models = two(tiny_model, tmp_path, ALL, ALL | {"lora_alpha": 9})
    own = peft.PeftModel.from_pretrained(model_of(tiny_model), models[0].adapter, "a")
    own.load_adapter(models[1].adapter, "b")
    density = more.get("density", 0.5 if method != "linear" and method != "svd" else None)
    own.add_weighted_adapter(
        ["a", "b"], [0.4, 0.6], "made", method, density=density, svd_rank=more.get("rank")
    )
    own.set_adapter("made")
    expected = logits(own)
    found = logits_of(models, tiny_model, tmp_path / "merged", weights=[0.4, 0.6], method=method, **more)
    assert (found - expected).abs().max() < 1e-4
    (tmp_path / "made").mkdir()
    options = {"weights": [0.4, 0.6], "method": method, **more}
    distance = Combination.of(models, options).write_adapter(tiny_model, tmp_path / "made")
    assert distance == pytest.approx(far_from_sum(own), rel=1e-3)
    assert distance > 0.1


def far_from_sum(model: Any) -> float:
    """Relative distance of PEFT's `made` from 0.4 a + 0.6 b, by their products."""
    apart = whole = 0.0
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.Linear):
            exact = 0.4 * module.get_delta_weight("a") + 0.6 * module.get_delta_weight("b")
            apart += float((module.get_delta_weight("made") - exact).square().sum())
            whole += float(exact.square().sum())
    return (apart / whole) ** 0.5


def test_rslora_is_scaled_rightly_by_other_methods(tiny_model: Path, tmp_path: Path) -> None:
    """A rank-stabilised LoRA means what a plain one of alpha √r does; PEFT's combination forgets it (peft #3761)."""
    stabilised = two(tiny_model, tmp_path / "s", *[ALL | {"use_rslora": True}] * 2)
    plain = two(tiny_model, tmp_path / "p", *[ALL | {"lora_alpha": 6 * 2}] * 2)
    found, expected = (
        logits_of(models, tiny_model, tmp_path / name, method="linear")
        for name, models in (("one", stabilised), ("two", plain))
    )
    assert (found - expected).abs().max() < 1e-4


def test_dare_drops_what_its_seed_draws(tiny_model: Path, tmp_path: Path) -> None:
    models = two(tiny_model, tmp_path, ALL, ALL)
    options = {"method": "dare_linear", "density": 0.5}
    first, again, other = (
        logits_of(models, tiny_model, tmp_path / str(number), seed=seed, **options)
        for number, seed in enumerate((1, 1, 2))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "DoRA": (ALL | {"use_dora": True}, {"method": "svd"}, "DoRA's magnitudes"),
    "whole layers": (
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"method": "ties"},
        "layers trained whole",
    ),
    "rows": (
        {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5]}},
        {"method": "linear"},
        "trained rows of tokens",
    ),
    "ranks": (ALL | {"r": 8}, {"method": "linear"}, "same r"),
    "method": (ALL, {"method": "slerp"}, "no method slerp"),
    "weights": (ALL, {"weights": [1.0]}, "1 numbers for 2 models"),
    "density": (ALL, {"method": "svd", "density": 0.5}, "does not go with --method svd"),
    "rank": (ALL, {"rank": 4}, "does not go with --method cat"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_method_cannot_combine_is_refused_by_name(case: str, tiny_model: Path, tmp_path: Path) -> None:
    settings, options, message = REFUSED[case]
    models = two(tiny_model, tmp_path, settings, ALL)
    with pytest.raises(ConfigError, match=message), Combination.of(models, options).tensors(tiny_model):
        pass


def test_adapters_of_different_bases_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    other = change_model(tiny_model, tmp_path / "other")
    models = [trained(base, tmp_path / base.name, **ALL)[0] for base in (tiny_model, other)]
    with pytest.raises(ConfigError, match="different bases"):
        Combination.of(models, {}).base()


def test_whole_models_are_averaged(tiny_model: Path, tmp_path: Path) -> None:
    other = change_model(
        tiny_model, tmp_path / "b", lambda tensors: {name: value + 0.1 for name, value in tensors.items()}
    )
    models = [TrainedModel(tiny_model), TrainedModel(other)]
    with Combination.of(models, {}).tensors(tiny_model) as (merged, _):
        for name in merged.infos:
            assert merged.read(name) == pytest.approx(read(model_of(tiny_model), name) + 0.05, abs=1e-6)
    with (
        pytest.raises(ConfigError, match="sum to 1"),
        Combination.of(models, {"weights": [1.0, 1.0]}).tensors(tiny_model),
    ):
        pass


def read(model: Any, name: str) -> Any:
    return model.state_dict()[name].numpy()


def test_one_adapter_of_several_answers_as_their_sum(tiny_model: Path, tmp_path: Path) -> None:
    models = two(tiny_model, tmp_path, ALL | {"r": 8}, {"target_modules": ["q_proj"], "r": 2})
    (tmp_path / "made").mkdir()
    assert Combination.of(models, {}).write_adapter(tiny_model, tmp_path / "made") == 0
    made = logits(peft.PeftModel.from_pretrained(model_of(tiny_model), tmp_path / "made"))
    assert (made - logits_of(models, tiny_model, tmp_path / "merged")).abs().max() < 1e-4
