"""Weights that are pushed: a run's, or those of a folder that an export wrote; with their card."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.errors import ConfigError, FtError
from engine.publishing.card import run_files
from engine.publishing.facts import model_card
from engine.publishing.files import PushedFiles, pushed_files
from engine.publishing.render import render
from engine.runs.directory.card_mark import CARD, marked, own_card
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel


@dataclass(frozen=True)
class PushSource:
    """A folder with weights. `model` is what they are; None where only the folder itself can tell."""

    folder: Path
    model: TrainedModel | None = None

    @staticmethod
    def find(reference: str) -> "PushSource":
        """The weights of a run, of one of its checkpoints, or of a folder.

        Raises ConfigError where there are none, ModelError where an adapter's files are damaged.
        """
        path = Path(reference).expanduser().absolute()
        try:
            model = TrainedModel.find(reference)
        except ConfigError:
            run = _run(reference)
            folder = path if run is None else _written_by(run)
            if folder is None or not folder.is_dir():
                raise
            return PushSource(folder)
        weights = model.adapter or model.base
        if not isinstance(weights, Path):
            raise ConfigError(
                f"{reference} was not trained here, so there is nothing to push.",
                "Name a run, a checkpoint, or a folder that ft export wrote.",
            )
        return PushSource(weights, model)

    @cached_property
    def files(self) -> PushedFiles:
        """The folder's own files that are pushed. Raises ConfigError where it has no weights."""
        return pushed_files(self.folder)

    def made(self, repo: str) -> dict[str, bytes]:
        """Files that are made for the repository, by name, in place of the folder's: the card, and what it shows.

        A card that a person wrote is pushed as it is; that of an export says what was proved, so it is too. Raises
        ModelError where an adapter's settings are broken.
        """
        model = self.model
        if model is None or (model.run is None and (self.folder / CARD).is_file()):
            return {}
        found = {name: text.encode() for name, text in run_files(model.run).items()} if model.run else {}
        if own_card(self.folder) is None:
            card = model_card(model, folder=self.folder, location=repo)
            found[CARD] = marked(render(card)).encode()
        return found


def _run(reference: str) -> Run | None:
    try:
        return Run.open(reference)
    except FtError:
        return None


def _written_by(run: Run) -> Path | None:
    """The folder that a run of `ft export` wrote; None for a run of another kind."""
    out = run.job.get("out")
    return Path(out) if run.kind == "export" and isinstance(out, str) else None
