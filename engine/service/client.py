"""A client of `engine/service/server.py`: a warm child that holds models and data, so that this process stays light.

Several threads may ask at once: one thread reads the child's answers and hands each to its asker.
"""

import contextlib
import itertools
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from engine import secrets
from engine.backend_spec import Quantization
from engine.clean_logs import scrub
from engine.config.problems import Place, Problem, RecipeError
from engine.data.jsonl import written
from engine.data.preview.values import Lengths, Opened, RowView, View, lengths_from_json, row_from_json
from engine.data.token_spec import TokenSpec
from engine.data.types import GREEDY, Completion, Message, Prompt, Sampling
from engine.errors import FREE, KINDS, FtError, OutOfMemoryError, TrainingError
from engine.hardware import openmp
from engine.runs.directory.run import Run
from engine.storage.disk_errors import explaining

Answer = dict[str, Any]
LOOK_S = 0.05
"""How often a waiting asker looks whether it has been cancelled."""


class Cancelled(Exception):  # noqa: N818 - a wish, not an error
    """The asker's own `cancelled` event was set before the answer was whole."""


class Client:
    """Asks one service process, which lives as long as the client.

    Every question takes `cancelled`, an event that another thread may set: the child then leaves the question,
    and the asker gets `Cancelled` (`generate` just ends).
    """

    def __init__(self, log: Path) -> None:
        """`log` gets what libraries print in the child."""
        self._tokens = secrets.carried()
        with explaining(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                self._child = subprocess.Popen(
                    [sys.executable, "-P", "-m", "engine.service.server", "--secrets"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    encoding="utf-8",
                    env=openmp.settled(secrets.without()),
                    start_new_session=True,  # ctrl-c cancels an answer; it must not end the child
                )
        self._log = log
        self._numbers = itertools.count(1)
        self._writing = threading.Lock()
        self._send(self._tokens)
        self._askers: dict[int, queue.SimpleQueue[Answer | None]] = {}
        self._ended = False
        self._changing = threading.Lock()
        """Held while askers come and go, so that none comes unseen after the child has ended."""
        self._reader = threading.Thread(target=self._read, name="service answers", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the child is there to answer."""
        return self._child.poll() is None

    def generate(
        self,
        run: Run,
        messages: Sequence[Message],
        sampling: Sampling = GREEDY,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        base: bool = False,
        cancelled: threading.Event | None = None,
    ) -> Generator[str, None, None]:
        """The answer in pieces as they come. Closing the iterator cancels it, and so does `cancelled`.

        `tools` are functions that the model may call, in OpenAI's format.

        Raises the error that the service answers with, TrainingError where the service is gone.
        """
        request = {
            "op": "generate",
            "run": str(run.checkpoint or run.folder),
            "base": base,
            "messages": [*map(written, messages)],
            "tools": [*tools],
            **asdict(sampling),
        }
        with contextlib.suppress(Cancelled), contextlib.closing(self._ask(request, cancelled)) as answers:
            for answer in answers:
                yield answer["token"]

    def answers(
        self, model: Path, spec: TokenSpec, prompts: Sequence[Prompt], max_tokens: int, temperature: float
    ) -> list[Completion]:
        """What the model in a folder answers to many prompts, made at once; `Generator.answers` says how, and `spec`
        names the chat template.

        Raises the error that the service answers with (ModelError, OutOfMemoryError), TrainingError where the service
        is gone.
        """
        asked = {
            "op": "answers",
            "model": str(model),
            "spec": vars(spec),
            "prompts": [
                {"messages": [*map(written, one.messages)], "tools": [*one.tools], "seed": one.seed}
                for one in prompts
            ],
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        return [Completion(**answer) for answer in self._value(asked, None)]

    def plan(self, text: str, path: Path, cancelled: threading.Event | None = None) -> dict[str, Any]:
        """The plan of a recipe's text that stands, or would stand, at `path`, as `Plan.to_json` writes it.

        Raises what planning raises (RecipeError with its problems among it), and TrainingError where the service
        is gone.
        """
        plan: dict[str, Any] = self._value({"op": "plan", "text": text, "path": str(path)}, cancelled)
        return plan

    def rows(self, source: str, view: View | None = None, cancelled: threading.Event | None = None) -> Opened:
        """Open a file of rows, or `starter`; asked again, it says how far counting the rows is.

        Raises DataError where it cannot be opened, TrainingError where the service is gone.
        """
        request = {"op": "rows", "source": source, "view": vars(view or View())}
        return Opened(**self._value(request, cancelled))

    def preview(
        self,
        source: str,
        numbers: Sequence[int],
        view: View,
        how: Literal["tokens", "brief", "raw"] = "tokens",
        cancelled: threading.Event | None = None,
    ) -> list[RowView]:
        """Rows by their number from 0: token by token, only counts and first words, or as they stand in the file.

        Numbers that are not there (yet) are left out. Raises DataError where the source cannot be opened, ModelError
        and ConfigError where the model's tokenizer cannot be had.
        """
        request = {"op": "preview", "source": source, "rows": list(numbers), "view": vars(view), "how": how}
        return [row_from_json(row) for row in self._value(request, cancelled)]

    def lengths(self, source: str, view: View, cancelled: threading.Event | None = None) -> Lengths:
        """Lengths, trained tokens and problems of rows drawn from all that are known. Raises as `preview` does."""
        request = {"op": "lengths", "source": source, "view": vars(view)}
        return lengths_from_json(self._value(request, cancelled))

    def find(
        self, source: str, words: str, start: int, view: View, cancelled: threading.Event | None = None
    ) -> int | None:
        """The next row from `start` on, or else from the first, that holds the words; None where none does.

        Raises DataError where the source cannot be opened.
        """
        request = {"op": "find", "source": source, "words": words, "start": start, "view": vars(view)}
        row: int | None = self._value(request, cancelled)
        return row

    def check(self, text: str, path: Path, cancelled: threading.Event | None = None) -> None:
        """Look whether a recipe could be trained, as `engine.process.preflight` does: it may need heavy readers.

        Raises RecipeError, DataError or ModelError, and TrainingError where the service is gone.
        """
        self._value({"op": "check", "text": text, "path": str(path)}, cancelled)

    def convert(self, model: Path, out: Path, quantization: Quantization) -> dict[str, int] | None:
        """Write the MLX form of a model's folder into the folder `out`; its config's `quantization`.

        Raises ModelError where MLX cannot hold the model so, MachineError where it cannot be written, TrainingError
        where the service is gone.
        """
        asked = {"op": "convert", "model": str(model), "out": str(out), "quantization": quantization}
        settings: dict[str, int] | None = self._value(asked, None)
        return settings

    def renew(self, name: str) -> None:
        """Give the child a token that was set, or take one that was forgotten.

        Raises TrainingError where the child is gone, MachineError where the keyring is locked.
        """
        value = secrets.get(name)
        self._tokens |= {name: value} if value else {}
        self._send({"id": next(self._numbers), "op": "token", "name": name, "value": value})

    def close(self) -> None:
        """End the child."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it is gone already, which is what is wanted
                self._child.stdin.close()
        try:
            self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join(timeout=5)
        if self._child.stdout is not None and not self._reader.is_alive():
            self._child.stdout.close()
        with explaining():
            scrub(self._log, self._tokens.values())

    def _value(self, request: Answer, cancelled: threading.Event | None) -> Any:
        """The one value that answers a request."""
        (answer,) = self._ask(request, cancelled)
        return answer["value"]

    def _ask(self, request: Answer, cancelled: threading.Event | None) -> Generator[Answer, None, None]:
        """The parts of an answer as they come; an asker that leaves early, or is cancelled, cancels it."""
        number, mine = self._enter()
        finished = False
        try:
            self._send({"id": number, **request})
            for answer in self._parts(mine, cancelled):
                if answer is None:
                    finished = True
                    raise self._gone()
                finished = "done" in answer or "error" in answer
                if "error" in answer:
                    raise _raised(answer["error"])
                if finished:
                    return
                yield answer
        finally:
            with self._changing:
                del self._askers[number]
            if not finished and self._child.poll() is None:
                self._send({"id": next(self._numbers), "op": "cancel", "target": number})

    def _enter(self) -> "tuple[int, queue.SimpleQueue[Answer | None]]":
        """A number for a question, and where its answers will be put; None there means the child's end."""
        number, mine = next(self._numbers), queue.SimpleQueue[Answer | None]()
        with self._changing:
            self._askers[number] = mine
            if self._ended:
                mine.put(None)
        return number, mine

    @staticmethod
    def _parts(
        mine: "queue.SimpleQueue[Answer | None]", cancelled: threading.Event | None
    ) -> Iterator[Answer | None]:
        while True:
            if cancelled is None:
                yield mine.get()
                continue
            if cancelled.is_set():
                raise Cancelled
            with contextlib.suppress(queue.Empty):
                yield mine.get(timeout=LOOK_S)

    def _read(self) -> None:
        """Hand the child's answers to their askers; what is left of a cancelled one is passed over."""
        assert self._child.stdout is not None
        for line in self._child.stdout:
            answer: Answer = json.loads(line)
            with self._changing:
                asker = self._askers.get(answer.get("id") or 0)
            if asker is not None:
                asker.put(answer)
        with self._changing:
            self._ended = True
            for asker in self._askers.values():
                asker.put(None)

    def _send(self, request: Answer) -> None:
        assert self._child.stdin is not None
        try:
            with self._writing:
                self._child.stdin.write(json.dumps(request) + "\n")
                self._child.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: this client was closed
            raise self._gone() from None

    def _gone(self) -> FtError:
        from engine.process.postmortem import log_end, log_says_memory

        code = self._child.wait()
        if code < 0 and log_says_memory(self._log):
            return OutOfMemoryError(
                "The process that answers has run out of memory.", f"{FREE} What it wrote is in {self._log}"
            )
        return TrainingError(
            f"The process that answers has ended with exit code {code}.", log_end(self._log).strip()
        )


def _raised(error: Answer) -> FtError:
    """The error that the service described."""
    if "problems" in error:
        problems = [Problem(**{**each, "place": Place(**each["place"])}) for each in error["problems"]]
        return RecipeError(problems, error["hint"])
    return KINDS.get(error["kind"], FtError)(error["message"], error["hint"])
