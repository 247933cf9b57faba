"""`ft merge`: full weights of a run, of several, of an average of its checkpoints, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
from safetensors.numpy import load_file

from engine.merging.base import base_for
from engine.merging.merged import merged_tensors
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from ft.cli import main
from tests.test_merging import logits, model_of
from tests.tiny import change_model
from tests.training import Job, recipe_text, write_rows

QUICK: dict[str, Any] = {
    "training": {"epochs": 1, "max_steps": 4, "learning_rate": 0.02},
    "evaluation": {"every": 4, "samples": []},
    "checkpoints": {"every": 1, "keep": 4},
}


def train(base: Path, folder: Path, **sections: Any) -> Run:
    """A finished run, trained in this process."""
    job = Job.make(base, folder, **QUICK | sections)
    assert job.train() == "completed"
    return job.run


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


def test_latest_run_is_merged_with_its_tokens_and_template(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is a model like any other, for transformers and for ft, and answers as the adapter does."""
    run = train(tiny_model, folder, model={"add_tokens": ["<order>"]})
    capsys.readouterr()
    assert main(["merge"]) == 0
    said = capsys.readouterr()
    out = folder / f"merged-{run.id}"
    assert said.out.splitlines() == [str(out)]
    assert f"Merging onto {tiny_model.name}, which is not quantised." in said.err
    assert "Rounding" not in said.err  # the base is in fp32
    model = TrainedModel.find(out)
    tokenizer, own = model.spec.tokenizer(out), TrainedModel.of(run).spec.tokenizer(tiny_model)
    assert tokenizer.encode("an <order> here") == own.encode("an <order> here")
    trained = TrainedModel.of(run)
    merged = merged_tensors(trained, base_for(trained).folder)
    found = model_of(out)
    assert found.config.vocab_size == merged.vocabulary == len(merged.read("model.embed_tokens.weight"))
    for name, values in weights(out).items():
        np.testing.assert_array_equal(values, merged.read(name))
    assert main(["merge"]) == 2
    assert f"{out} exists already." in capsys.readouterr().err


def test_merged_run_answers_as_its_adapter(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tiny_model, folder)
    capsys.readouterr()
    assert main(["merge", run.id, "--out", "whole", "--json", "--dtype", "fp32"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["folder"] == str(folder / "whole")
    assert (report["base"], report["dtypes"], report["lost"]) == (str(tiny_model), ["F32"], 0)
    adapter = peft.PeftModel.from_pretrained(model_of(tiny_model), run.adapter).eval()
    assert (logits(adapter) - logits(model_of(tiny_model))).abs().max() > 1e-3
    assert (logits(model_of(folder / "whole")) - logits(adapter)).abs().max() < 1e-4


@pytest.mark.slow
def test_checkpoints_are_averaged_by_what_they_change(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The average of the products B A, which is not the product of the averages."""
    run = train(tiny_model, folder)
    steps = [run.checkpoints / f"step-{step:06d}" for step in (2, 3, 4)]
    merged = [merged_tensors(TrainedModel.find(step), tiny_model) for step in steps]
    assert main(["merge", "--average", "last:3", "--out", "last"]) == 0
    assert main(["merge", run.id, "--checkpoints", "2,4", "--out", "two"]) == 0
    assert "cat of 2 models, with the weights 0.5, 0.5." in capsys.readouterr().err
    for name, values in weights(folder / "last").items():
        exact = [each.read(name) for each in merged]
        np.testing.assert_allclose(values, sum(exact) / 3, atol=1e-6)
        np.testing.assert_allclose(weights(folder / "two")[name], (exact[0] + exact[2]) / 2, atol=1e-6)
    assert main(["merge", "--average", "last:9"]) == 2
    assert "it has those of the steps 1, 2, 3, 4" in capsys.readouterr().err
    assert main(["merge", "--average", "best:2"]) == 2
    assert "--average best:2: expected last:N" in capsys.readouterr().err


@pytest.mark.slow
def test_two_runs_are_merged_and_the_distance_from_their_sum_is_told(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [train(tiny_model, folder, seed=seed) for seed in (1, 2)]
    names = [run.id for run in runs]
    capsys.readouterr()
    assert main(["merge", *names, "--weights", "0.7,0.3", "--out", "sum", "--adapter-out"]) == 0
    assert main(["merge", *names, "--weights", "0.7,0.3", "--out", "linear", "--method", "linear"]) == 0
    said = capsys.readouterr().err
    assert "linear of 2 models, with the weights 0.7, 0.3." in said
    assert "away from the weighted sum; --method cat is exact." in said
    both = peft.PeftModel.from_pretrained(model_of(tiny_model), folder / "sum").eval()
    merged = [merged_tensors(TrainedModel.of(run), tiny_model) for run in runs]
    layer = "model.layers.1.mlp.up_proj"
    exact = 0.7 * merged[0].read(f"{layer}.weight") + 0.3 * merged[1].read(f"{layer}.weight")
    found = both.merge_and_unload().get_submodule(layer).weight.detach().numpy()
    np.testing.assert_allclose(found, exact, atol=1e-5)
    assert TrainedModel.find(folder / "sum").adapter == folder / "sum"


@pytest.mark.slow
def test_a_base_that_changed_since_training_is_refused(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = change_model(tiny_model, folder / "base")
    (folder / "train.yml").write_text(recipe_text(base, write_rows(folder), **QUICK))
    assert main(["train", str(folder / "train.yml"), "--plain"]) == 0
    touched = change_model(base, folder / "other", lambda tensors: {n: v + 0.01 for n, v in tensors.items()})
    (touched / "model.safetensors").replace(base / "model.safetensors")
    capsys.readouterr()
    assert main(["merge", "--out", "merged"]) == 4
    said = capsys.readouterr().err
    assert "was trained on: its config, tokenizer or weights have changed since" in said
    assert not list(folder.glob("*merged*"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dtype", "int8"], 2, "There is no dtype int8."),
        (["--method", "slerp"], 2, "There is no method slerp."),
        (["--weights", "a,b"], 2, "a,b is not a list of numbers."),
        (["--weights", "1,2"], 2, "--weights has 2 numbers for 1 models."),
        (["--average", "last:2", "--checkpoints", "1"], 2, "Give one of them."),
    ],
)
def test_options_that_mean_nothing_are_refused_before_any_work(
    arguments: list[str],
    code: int,
    message: str,
    tiny_model: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["merge", str(tiny_model), *arguments]) == code
    assert message in capsys.readouterr().err
    assert not list(folder.iterdir())
