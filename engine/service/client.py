"""Client of the service: asks for plans, rows and answers, so that this process loads neither models nor data."""

import contextlib
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine import secrets
from engine.data.preview.values import Lengths, Opened, RowView, View
from engine.data.token_spec import TokenSpec
from engine.data.types import GREEDY, Completion, Message, Prompt, Sampling
from engine.inference.answer import Piece
from engine.models.shape import ModelShape
from engine.planning.plan import Plan
from engine.runs.directory.run import Run
from engine.service.calls import Calls
from engine.service.calls import Cancelled as Cancelled
from engine.service.child import ServiceProcess
from engine.service.operations import answers, data, plan, shape, token
from engine.service.operations.data import Detail
from engine.service.transport import Transport


class Client(Calls):
    """Asks a service, which lives as long as the client.

    Every question takes `cancelled`, an event that another thread may set: the service then drops the question, and
    the asker gets `Cancelled` (`generate` just ends). All raise TrainingError where the service has ended, and
    OutOfMemoryError where it ran out of memory.
    """

    def __init__(self, service: Path | Transport) -> None:
        """`service` is the connection to one that runs, or the log file of a process that is started for it."""
        super().__init__(ServiceProcess(service) if isinstance(service, Path) else service)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """True while the service can answer."""
        return not isinstance(self.transport, ServiceProcess) or self.transport.alive

    def generate(
        self,
        model: Run | str,
        messages: Sequence[Message],
        sampling: Sampling = GREEDY,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        base: bool = False,
        cancelled: threading.Event | None = None,
    ) -> Generator[str, None, None]:
        """The text of `pieces`, without reasoning and calls of tools."""
        pieces = self.pieces(model, messages, sampling, tools=tools, base=base, cancelled=cancelled)
        with contextlib.closing(pieces):
            for piece in pieces:
                yield piece.text

    def pieces(
        self,
        model: Run | str,
        messages: Sequence[Message],
        sampling: Sampling = GREEDY,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        base: bool = False,
        cancelled: threading.Event | None = None,
    ) -> Generator[Piece, None, None]:
        """The answer in pieces as they come. Closing the iterator cancels it, and so does `cancelled`.

        `model` is a run, or what `TrainedModel.find` takes. `tools` are functions that the model may call, in OpenAI's
        format. Raises ConfigError where nothing is trained yet, ModelError where the model does not load.
        """
        reference = str(model.checkpoint or model.folder) if isinstance(model, Run) else model
        prompt = Prompt(tuple(messages), sampling.seed, tuple(tools))
        request = answers.GenerateRequest(reference, prompt, sampling, base)
        pieces = self.stream(answers.generate, request, cancelled)
        with contextlib.suppress(Cancelled), contextlib.closing(pieces):
            yield from pieces

    def answers(
        self, model: Path, spec: TokenSpec, prompts: Sequence[Prompt], max_tokens: int, temperature: float
    ) -> list[Completion]:
        """The answers of the model in a folder to many prompts, as `Generator.answers` makes them; `spec` names the
        chat template.

        Raises ModelError, OutOfMemoryError.
        """
        request = answers.AnswersRequest(model, spec, tuple(prompts), max_tokens, temperature)
        return [*self.call(answers.answers, request)]

    def plan(self, text: str, path: Path, cancelled: threading.Event | None = None) -> Plan:
        """The plan of a recipe's text that stands, or would stand, at `path`.

        Raises what planning raises, RecipeError with its problems among it.
        """
        return self.call(plan.plan, plan.RecipeText(text, path), cancelled)

    def check(self, text: str, path: Path, cancelled: threading.Event | None = None) -> None:
        """Check that a recipe could be trained, as `engine.process.preflight` does: it may need heavy readers.

        Raises RecipeError, DataError or ModelError.
        """
        self.call(plan.check, plan.RecipeText(text, path), cancelled)

    def shape(self, folder: Path, cancelled: threading.Event | None = None) -> ModelShape:
        """The shape of a model from the config.json in `folder`, whatever library that takes. Raises ModelError."""
        return self.call(shape.shape, shape.ConfigFolder(folder), cancelled)

    def rows(self, source: str, view: View | None = None, cancelled: threading.Event | None = None) -> Opened:
        """Open a file of rows, or `starter`; asked again, it says how far counting the rows is.

        Raises DataError where it cannot be opened.
        """
        return self.call(data.rows, data.SourceRequest(source, view or View()), cancelled)

    def preview(
        self,
        source: str,
        numbers: Sequence[int],
        view: View,
        how: Detail = "tokens",
        cancelled: threading.Event | None = None,
    ) -> list[RowView]:
        """Rows by their number from 0; those that are not there (yet) are left out.

        Raises DataError where the source cannot be opened, ModelError and ConfigError where the model's tokenizer
        cannot be had.
        """
        request = data.PreviewRequest(source, view, tuple(numbers), how)
        return [*self.call(data.preview, request, cancelled)]

    def lengths(self, source: str, view: View, cancelled: threading.Event | None = None) -> Lengths:
        """Lengths, trained tokens and problems of rows drawn from all that are known. Raises as `preview` does."""
        return self.call(data.lengths, data.SourceRequest(source, view), cancelled)

    def find(
        self, source: str, words: str, start: int, view: View, cancelled: threading.Event | None = None
    ) -> int | None:
        """The next row from `start` on, or else from the first, that holds the words; None where none does.

        Raises DataError where the source cannot be opened.
        """
        return self.call(data.find, data.FindRequest(source, view, words, start), cancelled)

    def renew(self, name: str) -> None:
        """Give the service a token that was set, or take one that was forgotten. It applies to all later questions.

        One that the service has no use for is not given. Raises MachineError where the keyring is locked.
        """
        if name != secrets.HF_TOKEN and not secrets.OF_ADDRESS.fullmatch(name):
            return
        value = secrets.get(name)
        if value and isinstance(self.transport, ServiceProcess):
            self.transport.tokens[name] = value
        self.post(token.token, token.TokenRequest(name, value))
