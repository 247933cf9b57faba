"""Trained models to chat with: results of runs, and their checkpoints."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.runs.directory.checkpoints import named, step_of, whole
from engine.runs.directory.result import weights_in
from engine.runs.directory.run import Run
from engine.runs.index.index import RunSummary


@dataclass(frozen=True)
class ChatModel:
    """A trained model. `reference` is what `Run.open` takes."""

    reference: str
    run_id: str
    what: str
    """`final`, or the step of a checkpoint."""
    base: str
    """The model that it was trained on, as its recipe names it."""

    @property
    def title(self) -> str:
        return f"{self.run_id} · {self.what}"


def chat_models(runs: Iterable[RunSummary]) -> list[ChatModel]:
    """Every trained model of these runs: of each run the final one first, then its checkpoints, newest first.

    Reads folders; never raises for what is in them.
    """
    found: list[ChatModel] = []
    for summary in runs:
        base = str(summary.config.get("model.base", "?"))
        folder = summary.folder
        if weights_in(folder):
            found.append(ChatModel(str(folder), summary.id, "final", base))
        best = named(folder / "checkpoints", "best")
        found += [
            ChatModel(str(checkpoint), summary.id, _what(checkpoint, best), base)
            for checkpoint in reversed(whole(folder / "checkpoints"))
            if weights_in(checkpoint)
        ]
    return found


def chat_model_of(reference: str) -> ChatModel:
    """The trained model of a run's id, prefix or path, or of a checkpoint's path. Raises ConfigError."""
    run = Run.open(reference)
    base = run.config.model.base
    if run.checkpoint is None:
        return ChatModel(str(run.folder), run.id, "final", base)
    return ChatModel(str(run.checkpoint), run.id, _what(run.checkpoint, named(run.checkpoints, "best")), base)


def newest(runs: Iterable[RunSummary]) -> ChatModel | None:
    """The model of the newest run that has learned something; runs without a step come after all others."""
    for summary in sorted(runs, key=lambda run: not run.state.step):
        found = chat_models([summary])
        if found:
            return found[0]
    return None


def _what(checkpoint: Path, best: Path | None) -> str:
    return f"step {step_of(checkpoint)}" + (" (best)" if checkpoint == best else "")
