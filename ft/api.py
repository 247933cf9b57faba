"""The Python API: the same engine process as the command line, from code.

import ft

run = ft.train("train.yml", overrides={"training.max_steps": 20})
for event in run.events():
    print(event)
print(run.generate("What is the capital of France?"))
"""

import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import paths
from engine.config.load import Recipe, load_recipe
from engine.data.prompt_input import prompt_of
from engine.data.sampling_input import sampling_of
from engine.errors import ConfigError
from engine.inference.answer import Answer, Piece, gathered
from engine.planning.plan import Plan
from engine.process import launcher
from engine.process.launcher import Engine, outcome
from engine.runs.directory import control
from engine.runs.directory import run as runs
from engine.runs.directory.events import Event, Finished
from engine.runs.directory.registry import RECIPE
from engine.runs.directory.result import Result, weights_in
from engine.runs.directory.state import RunState
from engine.service.client import Client

if TYPE_CHECKING:
    from engine.data.sources.in_memory import Rows

PathLike = str | os.PathLike[str]


class Run:
    """A training run: one that this process started, or one opened from disk."""

    def __init__(self, run: runs.Run, engine: Engine | None = None) -> None:
        self._run = run
        self._engine = engine
        self._client: Client | None = None

    def __repr__(self) -> str:
        return f"<ft.Run {self.id}: {self.state.status}>"

    @property
    def id(self) -> str:
        """As `20261121-153000-name`."""
        return self._run.id

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self._run.folder

    @property
    def adapter(self) -> Path | None:
        """The trained adapter's folder (the model's after full training); None before there is one."""
        return weights_in(self._run.folder)

    @property
    def result(self) -> Result | None:
        """Result folder with its step and validation loss, and where an earlier checkpoint was better."""
        return self._run.result()

    @property
    def state(self) -> RunState:
        """State of the run now."""
        return self._run.state()

    @property
    def plan(self) -> Plan | None:
        """The plan; None before the engine has made it."""
        return self._run.plan

    def events(self, follow: bool = True) -> Iterator[Event]:
        """The events from the first; waits for the next ones while the engine lives, unless told not to."""
        return self._run.events(follow=follow)

    def wait(self) -> Finished:
        """Wait for the engine to end. Raises the FtError that the run failed with."""
        for _ in self._run.events(follow=True, since=self._run.position()):
            pass
        if self._engine is None:
            return outcome(self._run)
        return outcome(self._run, self._engine.since, self._engine.supervisor.wait())

    def stop(self) -> Finished:
        """Stop with a full checkpoint, and wait for that. Where the run has ended, how it did."""
        if self._run.alive():
            control.send(self._run, "stop")
        return self.wait()

    def resume(self) -> "Run":
        """Start the engine again from the last checkpoint.

        Raises ConfigError where the run is training, or where nothing is left to train.
        """
        self._engine = launcher.resume(self._run)
        return self

    def generate(self, prompt: str | Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The text of the answer to a prompt or a conversation; the model stays loaded for the next.

        A conversation is a list of messages as in training rows: {role, content}, with `tool_calls`, `tool_call_id` and
        `reasoning_content` where there are any. Options are those of `answer`.
        """
        return self.answer(prompt, **options).text

    def stream(self, prompt: str | Sequence[Mapping[str, Any]], **options: Any) -> Iterator[str]:
        """`generate`, piece by piece."""
        return _texts(self.pieces(prompt, **options))

    def answer(self, prompt: str | Sequence[Mapping[str, Any]], **options: Any) -> Answer:
        """The whole answer: text, reasoning, calls of tools, why it ended and its tokens. Options as for `pieces`."""
        return gathered(self.pieces(prompt, **options))

    def pieces(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        system: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        base: bool = False,
        **sampling: Any,
    ) -> Generator[Piece, None, None]:
        """`answer`, piece by piece.

        `tools` are functions that the model may call, in OpenAI's format; `base` asks the model as it was before
        training. `sampling` are the fields of `engine.data.types.Sampling`: max_tokens, temperature, seed, top_p,
        top_k, min_p, repetition_penalty, and stop, one text or several. Raises ConfigError.
        """
        turns: list[Any] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if system is not None:
            turns.insert(0, {"role": "system", "content": system})
        asked = prompt_of({"messages": turns, "tools": [*tools]})
        if self._client is None:
            self._client = Client(paths.cache() / "service.log")
        settings = sampling_of(sampling)
        return self._client.pieces(self._run, asked.messages, settings, tools=asked.tools, base=base)

    def close(self) -> None:
        """Let go of the model that `generate` keeps loaded."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _texts(pieces: Generator[Piece, None, None]) -> Iterator[str]:
    """The text of pieces; closing it cancels them."""
    with closing(pieces):
        for piece in pieces:
            yield piece.text


def train(
    recipe: PathLike = "train.yml",
    overrides: Mapping[str, Any] | None = None,
    *,
    data: "Rows | Mapping[str, Rows] | None" = None,
    validation: "Rows | float | None" = None,
    folder: PathLike | None = None,
    force: bool = False,
) -> Run:
    """Start training as a recipe says; returns immediately, `run.wait()` waits for the end.

    `overrides` are keys like `training.max_steps` with their values. `data` takes the place of `data.train`: a
    `datasets.Dataset` or `IterableDataset`, any iterable of rows, or a `DatasetDict`, of which the `train` split is
    trained and the `validation` split, where it has one, validates. `validation` takes the place of `data.validation`:
    rows, or a share of the training rows. Rows are written below FT_HOME first, and the run and its resumes read them
    there.

    Raises FtError for what is wrong with the recipe, its data or its model.
    """
    loaded = _load(recipe, overrides, data, validation)
    engine = launcher.launch(loaded, Path(folder) if folder is not None else None, force=force)
    return Run(engine.run, engine)


def plan(
    recipe: PathLike = "train.yml",
    overrides: Mapping[str, Any] | None = None,
    *,
    data: "Rows | Mapping[str, Rows] | None" = None,
    validation: "Rows | float | None" = None,
) -> Plan:
    """The plan of a recipe, its memory and its time, without training; `data` and `validation` are as for `train`."""
    from engine.planning.estimate import estimate
    from engine.runs.directory.start_adapter import start_of

    config = _load(recipe, overrides, data, validation).config
    return estimate(config, start=start_of(config))


def open_run(reference: PathLike | None = None) -> Run:
    """A run by id, prefix of one, path, or checkpoint's path; None = the latest."""
    return Run(runs.Run.open(os.fspath(reference) if reference is not None else None))


def _load(
    recipe: PathLike,
    overrides: Mapping[str, Any] | None,
    data: "Rows | Mapping[str, Rows] | None",
    validation: "Rows | float | None",
) -> Recipe:
    changes = dict(overrides or {})
    for key, given in (("data.train", data), ("data.validation", validation)):
        if given is not None and key in changes:
            raise ConfigError(f"{key} is given twice", "Leave it out of `overrides`.")
    if data is not None or validation is not None:
        changes |= _stored(data, validation, own_split="data.validation" not in changes)
    return load_recipe(Path(recipe), [f"{key}={json.dumps(value)}" for key, value in changes.items()])


def _stored(
    data: "Rows | Mapping[str, Rows] | None", validation: "Rows | float | None", own_split: bool
) -> dict[str, Any]:
    """The overrides that name the files of rows which a program holds.

    With `own_split`, the validation split of `data` is used where it has one and nothing else is given.
    """
    from engine.data.sources.in_memory import remove_unused, splits_of, stored

    found: dict[str, Any] = {}
    if data is not None:
        train, own = splits_of(data)
        found["data.train"] = str(stored(train))
        if own is not None and validation is None and own_split:
            found["data.validation"] = str(stored(own))
    if validation is not None:
        share = isinstance(validation, int | float)
        found["data.validation"] = validation if share else str(stored(validation))
    remove_unused(lambda: (run.folder / RECIPE for run in runs.Run.all()))
    return found
