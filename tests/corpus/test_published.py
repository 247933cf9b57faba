"""Choice of the checkpoint that becomes a run's result; every view of the run shows it, and a better one."""

import json
from pathlib import Path
from typing import Any

import pytest

import ft
from engine.config.load import load_text
from engine.config.problems import RecipeError
from engine.runs.directory.events import Eval, Finished, Saved, Warned
from engine.runs.directory.state import fold
from engine.runs.index.index import summary_of
from ft import run_text
from ft.cli import main
from screens.monitor.run_view import RunView
from screens.runs.details import described
from tests.training import Job, StopAtPoll, recipe_text

RATE = 0.03
"""So high that the loss falls in the first step, and then is worse."""


def trained(base: Path, folder: Path, /, **sections: Any) -> tuple[Job, str, dict[int, Eval]]:
    recipe: dict[str, Any] = {
        "training": {
            "learning_rate": RATE, "max_steps": 4, "scheduler": "constant", "warmup_ratio": 0, "precision": "fp32",
        },
        "evaluation": {"every": 1, "samples": []},
        "checkpoints": {"every": 9, "keep": 1},
    }  # fmt: skip
    for name, section in sections.items():
        recipe[name] = recipe.get(name, {}) | section
    job = Job.make(base, folder, **recipe)
    reason = job.train()
    job.run.emit(Finished(reason=reason, step=job.run.state().step))
    evals = {event.step: event for event in job.run.evaluations()}
    return job, reason, evals


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def summary(job: Job, reason: str) -> list[str]:
    return run_text.summary(job.run, Finished(reason=reason, step=job.run.state().step))


def test_early_stopping_summary_describes_published_adapter(tiny_model: Path, tmp_path: Path) -> None:
    job, reason, evals = trained(tiny_model, tmp_path, evaluation={"early_stopping_patience": 1})
    assert reason == "early_stopping"
    best = min(evals.values(), key=lambda event: event.loss).step
    assert 0 < best < max(evals), "else this test shows nothing"
    lines = summary(job, reason)
    loss = f"validation loss: {evals[0].loss:.4f} → {evals[best].loss:.4f}  (step 0 → step {best})"
    assert lines[:2] == [loss, f"adapter: {job.run.adapter}  (step {best}, the best)"]
    assert weights(job.run.adapter) == weights(job.run.checkpoints / f"step-{best:06d}" / "adapter")


def test_completed_run_names_better_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    job, reason, evals = trained(tiny_model, tmp_path)
    assert reason == "completed"
    best, last = min(evals.values(), key=lambda event: event.loss).step, max(evals)
    assert 0 < best < last, "else this test shows nothing"
    kept = job.run.checkpoints / f"step-{best:06d}" / "adapter"
    assert weights(job.run.adapter) != weights(kept)
    assert summary(job, reason)[:3] == [
        f"validation loss: {evals[0].loss:.4f} → {evals[last].loss:.4f}  (step 0 → step {last})",
        f"adapter: {job.run.adapter}  (step {last}, the last)",
        f"Step {best} was better (validation loss {evals[best].loss:.4f}): {kept}. "
        "checkpoints.publish: best makes it the result.",
    ]


@pytest.mark.parametrize(
    ("publish", "patience", "is_best"), [("best", None, True), ("last", 1, False), ("best", 1, True)]
)
def test_recipe_chooses_published_checkpoint(
    publish: str, patience: int | None, is_best: bool, tiny_model: Path, tmp_path: Path
) -> None:
    job, _, evals = trained(
        tiny_model,
        tmp_path,
        evaluation={"early_stopping_patience": patience},
        checkpoints={"publish": publish},
    )
    best, last = min(evals.values(), key=lambda event: event.loss).step, max(evals)
    step = best if is_best else last
    assert weights(job.run.adapter) == weights(job.run.checkpoints / f"step-{step:06d}" / "adapter")
    saved = [event for event in job.run.events() if isinstance(event, Saved) and event.kind == "adapter"]
    assert [event.step for event in saved] == [step]


def test_every_view_shows_same_run_result(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, _, evals = trained(tiny_model, tmp_path)
    best, last = min(evals.values(), key=lambda event: event.loss).step, max(evals)
    kept = job.run.checkpoints / f"step-{best:06d}" / "adapter"
    result = ft.open_run(job.run.folder).result
    assert result is not None
    assert (result.folder, result.step, result.loss) == (job.run.adapter, last, evals[last].loss)
    assert result.better is not None
    assert (result.better.step, result.better.loss, result.better.folder) == (best, evals[best].loss, kept)

    capsys.readouterr()
    assert main(["runs", "show", str(job.run.folder), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["result"] == str(job.run.adapter)
    assert (body["published"], body["published_loss"]) == (last, evals[last].loss)
    assert body["better"] == {
        "step": best,
        "loss": evals[best].loss,
        "folder": str(kept),
        "metric": "eval_loss",
    }
    assert main(["runs", "show", str(job.run.folder)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"(step {last}, the last, validation loss {evals[last].loss:.4f})" in text
    assert f"Step {best} was better" in text

    listed = summary_of(job.run)
    assert listed.state.published == last
    details = described(listed, {}).plain
    assert f"adapter of step {last}, the last: {evals[last].loss:.3g}"[:30] in details
    assert kept.parent.name in details
    view = RunView(run_id=job.run.id)
    for event in job.run.events():
        view.take(event)
    assert view.state.published == last
    assert fold(job.run.events(), False) == job.run.state()


def test_worse_validation_loss_is_reported(tiny_model: Path, tmp_path: Path) -> None:
    """The summary says that it was better before training."""
    job, reason, evals = trained(tiny_model, tmp_path, training={"learning_rate": 0.9, "max_steps": 1})
    assert evals[1].loss > evals[0].loss, "else this test shows nothing"
    assert f"Before training it was better: validation loss {evals[0].loss:.4f}." in summary(job, reason)


def test_publishing_best_checkpoint_needs_validation_rows(tmp_path: Path) -> None:
    text = recipe_text(Path("m"), Path("rows.jsonl"), data={"validation": 0}, checkpoints={"publish": "best"})
    with pytest.raises(RecipeError, match=r"checkpoints.publish: .*data.validation: 0"):
        load_text(text, tmp_path / "train.yml")


def test_last_checkpoint_is_published_without_evaluation(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(
        tiny_model,
        tmp_path,
        training={"max_steps": 40},
        evaluation={"every": 50, "samples": []},
        checkpoints={"publish": "best"},
    )
    assert job.train(StopAtPoll(job.run, 30)) == "stopped"
    (saved,) = (event for event in job.run.events() if isinstance(event, Saved) and event.kind == "adapter")
    assert saved.step == job.run.state().step > 0
    warned = [event.message for event in job.run.events() if isinstance(event, Warned)]
    assert any("the last one becomes the result" in message for message in warned)
