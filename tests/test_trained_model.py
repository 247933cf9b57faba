"""Weights that a run, a checkpoint or a folder stands for, and what comes with them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.data.token_spec import TokenSpec
from engine.errors import ConfigError, ModelError
from engine.runs.directory.events import Saved
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from tests.run_fixtures import make_run
from tests.serving import make_adapter
from tests.tiny import make_tiny_model


def trained(name: str, *folders: str, adapter: str = "") -> Run:
    """A run with these folders in it."""
    run = make_run(f"20260102-000000-{name}", steps=20)
    for folder in folders:
        (run.folder / folder).mkdir(parents=True)
    recipe = run.folder / "train.yml"
    text = (
        "model:\n  base: starter\n  add_tokens: [<note>]\n  chat_template: chatml\ndata: {train: starter}\n"
    )
    recipe.write_text(text + (f"adapter: {{type: {adapter}}}\n" if adapter else ""))
    run.emit(Saved(step=20, path="adapter", kind="adapter"))
    return run


def test_run_means_its_trained_model(ft_home: Path) -> None:
    """It comes with the template and the tokens of its recipe."""
    run = trained("a", "adapter", "checkpoints/step-000010/adapter")
    found = TrainedModel.of(run)
    assert (found.base, found.adapter, found.run, found.step) == ("starter", run.adapter, run.folder, 20)
    assert found.spec == TokenSpec(chat_template="chatml", add_tokens=("<note>",))
    assert TrainedModel.before(run) == replace(
        found, adapter=None, step=None, spec=TokenSpec(chat_template="chatml")
    )


def test_a_checkpoint_means_its_own_weights(ft_home: Path) -> None:
    run = trained("a", "adapter", "checkpoints/step-000010/adapter")
    checkpoint = run.checkpoints / "step-000010"
    found = TrainedModel.of(Run.open(checkpoint))
    assert (found.adapter, found.step) == (checkpoint / "adapter", 10)
    assert TrainedModel.find(checkpoint) == found
    assert TrainedModel.find(checkpoint / "adapter") == found
    assert TrainedModel.find(run.adapter) == TrainedModel.find(run.id) == TrainedModel.of(run)


def test_full_training_result_is_its_base(ft_home: Path) -> None:
    run = trained("a", "model", adapter="none")
    found = TrainedModel.of(run)
    assert (found.base, found.adapter) == (run.model, None)
    assert found.spec.add_tokens == ()  # it has them already
    assert found.base_folder() == run.model


def test_unended_run_means_its_last_checkpoint(ft_home: Path) -> None:
    run = trained("a", "checkpoints/step-000010/adapter", "checkpoints/step-000020/adapter")
    for step in ("step-000010", "step-000020"):
        (run.checkpoints / step / "progress.json").write_text("{}")
    found = TrainedModel.of(run)
    assert (found.adapter, found.step) == (run.checkpoints / "step-000020" / "adapter", 20)


def test_untrained_run_hints_at_first_checkpoint(ft_home: Path) -> None:
    with pytest.raises(ConfigError, match="has no trained adapter yet") as error:
        TrainedModel.of(trained("a"))
    assert "first checkpoint" in error.value.hint


def test_a_models_folder_means_itself(tiny_model: Path) -> None:
    assert TrainedModel.find(tiny_model) == TrainedModel(tiny_model)
    assert TrainedModel.find(str(tiny_model)).base_folder() == tiny_model


def test_starter_and_hub_id_mean_models_that_nothing_was_trained_of(folder: Path) -> None:
    """A run and a folder of that name go before them; a name without an owner is a misspelt run's."""
    assert TrainedModel.find("starter") == TrainedModel("starter")
    assert TrainedModel.find("anna/orders") == TrainedModel("anna/orders")
    with pytest.raises(ConfigError, match="There is no run 'orders'"):
        TrainedModel.find("orders")
    with pytest.raises(ConfigError, match="is a whole model"):
        TrainedModel.find_untrained("starter")
    make_tiny_model(folder / "anna" / "orders")
    assert TrainedModel.find("anna/orders") == TrainedModel(folder / "anna" / "orders")


def test_folder_without_a_model_says_what_it_lacks(folder: Path) -> None:
    (folder / "anna" / "orders").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds no run, model or adapter") as error:
        TrainedModel.find("anna/orders")
    assert "config.json" in error.value.hint


def test_adapter_without_a_base_says_so(tiny_model: Path, tmp_path: Path) -> None:
    made = make_adapter(tiny_model, tmp_path / "made", 0)
    assert TrainedModel.find(made).base == str(tiny_model)
    settings = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not say which model") as error:
        TrainedModel.find(made)
    assert "base_model_name_or_path" in error.value.hint
    (made / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no adapter_model"):
        TrainedModel.find(made)
