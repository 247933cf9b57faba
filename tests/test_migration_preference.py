"""Preference training in files of other tools: the method, its loss and its weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.migrated import made, report, without_equal

AXOLOTLS = {"base_model": "a/b", "adapter": "lora"}
FACTORYS = {"model_name_or_path": "a/b", "finetuning_type": "lora", "template": "llama3"}
PREFERENCES: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("d.json", {"DPOConfig": {"beta": 0.2, "loss_type": "hinge"}}, "dpo", {"beta": 0.2, "loss": "hinge"}),
    ("d.json", {"DPOConfig": {"loss_type": "ipo"}}, "dpo", {"loss": "ipo", "length_normalised": True}),
    (
        "d.json",
        {"DPOConfig": {"loss_type": "sigmoid", "label_smoothing": 0.1}},
        "dpo",
        {"label_smoothing": 0.0},
    ),
    (
        "d.json",
        {"DPOConfig": {"loss_type": "robust", "label_smoothing": 0.1}},
        "dpo",
        {"loss": "robust", "label_smoothing": 0.1},
    ),
    ("d.json", {"ORPOConfig": {"beta": 0.4}}, "orpo", {"beta": 0.4}),
    ("d.json", {"CPOConfig": {"cpo_alpha": 0.5}}, "cpo", {"nll_weight": 0.5, "beta": 0.1}),
    ("d.json", {"CPOConfig": {"loss_type": "simpo", "beta": 2.5}}, "simpo", {"beta": 2.5, "gamma": 0.5}),
    ("d.json", {"KTOConfig": {"desirable_weight": 1.5}}, "kto", {"desirable_weight": 1.5}),
    (
        "a.yml",
        {**AXOLOTLS, "rl": "ipo", "rl_beta": 0.3},
        "dpo",
        {"beta": 0.3, "loss": "ipo"},
    ),
    (
        "a.yml",
        {**AXOLOTLS, "rl": "orpo", "orpo_alpha": 0.2},
        "orpo",
        {"beta": 0.2},
    ),
    (
        "l.yml",
        {
            "model_name_or_path": "a/b",
            "stage": "dpo",
            "finetuning_type": "lora",
            "template": "llama3",
            "pref_loss": "simpo",
        },
        "simpo",
        {"beta": 0.1, "gamma": 0.5},
    ),
    (
        "l.yml",
        {
            "model_name_or_path": "a/b",
            "stage": "kto",
            "finetuning_type": "lora",
            "template": "llama3",
            "kto_chosen_weight": 2,
        },
        "kto",
        {"desirable_weight": 2.0},
    ),
]


@pytest.mark.parametrize(("name", "given", "method", "keys"), PREFERENCES, ids=str)
def test_preference_methods_are_taken_with_their_weights(
    folder: Path, name: str, given: dict[str, Any], method: str, keys: dict[str, Any]
) -> None:
    config = made(name, json.dumps(given), folder)
    assert config.training.method == method
    assert {key: getattr(config.method_config, key) for key in keys} == keys


def test_loss_of_pairs_without_equal_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made("dpo.json", json.dumps({"DPOConfig": {"loss_type": "apo_zero"}}), folder, "--json")
    assert (config.training.method, config.method_config.loss) == ("dpo", "sigmoid")
    assert config.training.learning_rate == 1e-6, "TRL's default for DPO"
    assert without_equal(report(capsys))["loss_type"].startswith("dpo.loss: sigmoid")


@pytest.mark.parametrize("given", [{"loss_type": "simpo"}, {"loss_type": "simpo", "cpo_alpha": 0.5}], ids=str)
def test_loss_on_chosen_answers_beside_simpo_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any]
) -> None:
    """TRL adds it unless cpo_alpha is 0."""
    assert made("cpo.json", json.dumps({"CPOConfig": given}), folder, "--json").training.method == "simpo"
    assert "SimPO as its paper has it" in json.dumps(report(capsys))


def test_simpo_without_that_loss_is_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made("cpo.json", json.dumps({"CPOConfig": {"loss_type": "simpo", "cpo_alpha": 0}}), folder, "--json")
    assert "SimPO as its paper has it" not in json.dumps(report(capsys))
