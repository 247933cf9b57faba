"""Changes of runs on the disk, in threads: recipes made from theirs, and their deletion."""

from collections.abc import Callable, Sequence
from pathlib import Path

from textual.message import Message

from engine.errors import FtError
from engine.runs.directory.fork import continued_text, fork_text
from engine.runs.directory.run import Run
from engine.runs.index.summary import RunSummary
from screens.messages import WentWrong

NAMED = 8
"""Folders that are named before they are deleted; more would leave the buttons no room."""


class Removed(Message):
    """Runs that are deleted."""

    def __init__(self, ids: frozenset[str]) -> None:
        super().__init__()
        self.ids = ids


class Forked(Message):
    """The recipe of a run, under a name of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def fork(folder: Path, taken: frozenset[str], start: str | None, post: Callable[[Message], object]) -> None:
    """Post the recipe of a run under a name that is not taken; from `start` on, it starts from what that run trained.

    Blocks.
    """
    try:
        text = continued_text(folder, start, taken) if start else fork_text(folder, taken)
        post(Forked(text))
    except FtError as error:
        post(WentWrong(error))


def remove(runs: Sequence[RunSummary], post: Callable[[Message], object]) -> None:
    """Delete runs, and post which are gone and what went wrong. Blocks."""
    removed = set()
    for run in runs:
        try:
            Run(run.folder, run.id).remove()
            removed.add(run.id)
        except FileNotFoundError:
            removed.add(run.id)  # somebody else was faster
        except FtError as error:
            post(WentWrong(error))
    post(Removed(frozenset(removed)))


def question_of(runs: Sequence[RunSummary]) -> tuple[str, str, str]:
    """Question before runs are deleted, the word that agrees, and what is deleted."""
    question = f"Delete run {runs[0].id}?" if len(runs) == 1 else f"Delete {len(runs)} runs?"
    named = [str(run.folder) for run in runs[:NAMED]]
    named += [f"and {len(runs) - NAMED} more"] if len(runs) > NAMED else []
    return question, "Delete", "\n".join(["Checkpoints, adapter and curves are deleted too:", *named])
