"""The loop that generates: requests wait in a queue, join a free slot of the decoder, and leave it when they end.

It runs in one thread, which owns the model. Everything that other threads may call is marked so.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.backends.base import Arrival, Decoder, Model
from engine.errors import FtError, TrainingError
from engine.hardware.memory import is_exhaustion
from engine.serving.answer_text import AnswerText, Decode
from engine.serving.choice import Choice, Constraint
from engine.serving.request import Asked, Chosen, End, Finish, Listener, Piece

IDLE_S = 0.2
"""Longest wait for a request before commands are looked for again."""
PREFILL_TOKENS = 2048
"""Tokens of prompts that are read between two steps, so that answers that are being written do not stand still."""


class QueueFull(Exception):  # noqa: N818 - an answer to the client
    """As many requests wait as may."""


class CutError(FtError):
    """The server stops before the answer is whole."""


@dataclass
class Ticket:
    """A request on its way. `cancelled` may be set by any thread."""

    asked: Asked
    listener: Listener
    decode: Decode
    constraint: Callable[[], Constraint] | None = None
    cancelled: bool = False


@dataclass
class Row:
    """An answer that is being written."""

    ticket: Ticket
    choice: Choice
    text: AnswerText
    tokens: int = 0
    pending: list[Chosen] = field(default_factory=list)
    """Chosen, and not told yet, because their text is not settled."""


@dataclass(frozen=True)
class Load:
    """How busy the batch is: rows, waiting requests, answers and tokens so far."""

    rows: int
    waiting: int
    answers: int
    tokens: int


class Batch:
    """Generates for all requests, with `slots` answers growing together and at most `queue` waiting."""

    def __init__(self, model: Model, slots: int, queue: int) -> None:
        self._model, self._slots, self._most_waiting = model, slots, queue
        self._waiting: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._rows: dict[int, Row] = {}
        self._closed = False
        self._answers = self._tokens = 0

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Put the answers of one request into the queue. Called from any thread.

        Raises QueueFull where they do not all fit, CutError where the server stops.
        """
        with self._changed:
            if self._closed:
                raise CutError("The server is stopping.")
            free = max(0, self._slots - len(self._rows))
            if len(self._waiting) + len(tickets) > self._most_waiting + free:
                raise QueueFull
            self._waiting.extend(tickets)
            self._changed.notify()

    @property
    def load(self) -> Load:
        """Called from any thread."""
        return Load(len(self._rows), len(self._waiting), self._answers, self._tokens)

    def run(self, stopping: Callable[[], bool], grace_s: float) -> None:
        """Generate until `stopping` returns True and all answers are written, or `grace_s` have passed.

        `stopping` is called before every token. Raises what the model raises where it decodes nothing at all.
        """
        deadline: float | None = None

        def ended() -> bool:
            nonlocal deadline
            if deadline is None and stopping():
                self._close()
                deadline = time.monotonic() + grace_s
            return deadline is not None and (not self._busy or time.monotonic() > deadline)

        try:
            while not ended():
                with self._model.decoder(self._slots) as decoder:
                    self._turns(decoder, ended)
        finally:
            self._close()
            self._cut_all(CutError("The server stopped before the answer was whole."))

    def _turns(self, decoder: Decoder, ended: Callable[[], bool]) -> None:
        """Generate until `ended` returns True, or the decoder fails and another is needed."""
        try:
            while not ended():
                self._turn(decoder)
        except Exception as error:  # the model of a stranger can go wrong in any way
            self._cut_rows(_explained(error))

    @property
    def _busy(self) -> bool:
        return bool(self._rows or self._waiting)

    def _turn(self, decoder: Decoder) -> None:
        """Let requests join, choose a token for every row, and compute the next logits."""
        for key in [key for key, row in self._rows.items() if row.ticket.cancelled]:
            self._leave(decoder, key)
        self._join(decoder)
        if not self._rows:
            with self._changed:
                if not self._waiting:
                    self._changed.wait(IDLE_S)
            return
        chosen = self._choose(decoder)
        if chosen or decoder.reading:
            decoder.step(chosen)

    def _join(self, decoder: Decoder) -> None:
        taken = self._taken(decoder.slots - len(self._rows))
        if not taken:
            return
        made = []
        for ticket in taken:
            try:
                constraint = ticket.constraint() if ticket.constraint else None
                made.append(
                    Row(
                        ticket,
                        Choice(ticket.asked, constraint),
                        AnswerText(ticket.decode, ticket.asked.sampling.stop),
                    )
                )
            except FtError as error:
                ticket.listener.failed(error)
        try:
            keys = decoder.add([Arrival(row.ticket.asked.prompt, row.ticket.asked.adapter) for row in made])
        except Exception as error:
            for row in made:
                row.ticket.listener.failed(_explained(error))
            return
        self._rows.update(zip(keys, made, strict=True))

    def _taken(self, free: int) -> list[Ticket]:
        """The requests that join now: as many as have a slot, and whose prompts are read in one go."""
        taken: list[Ticket] = []
        tokens = 0
        with self._changed:
            while self._waiting and len(taken) < free:
                size = len(self._waiting[0].asked.prompt)
                if taken and tokens + size > PREFILL_TOKENS:
                    break
                ticket = self._waiting.popleft()
                if not ticket.cancelled:
                    taken.append(ticket)
                    tokens += size
        return taken

    def _choose(self, decoder: Decoder) -> dict[int, int]:
        """The next token of every row that goes on."""
        plain = any(row.choice.likeliest for row in self._rows.values())
        likeliest = decoder.likeliest() if plain else {}
        found: dict[int, int] = {}
        reading = {*decoder.reading}
        for key, row in [*self._rows.items()]:
            if key in reading:
                continue
            try:
                known = likeliest[key] if row.choice.likeliest else None
                chosen = row.choice.choose(decoder.logits(key)) if known is None else Chosen(known, 0.0)
            except FtError as error:
                self._leave(decoder, key)
                row.ticket.listener.failed(error)
                continue
            self._tokens += 1
            if (finish := self._take(row, chosen)) is None:
                found[key] = chosen.token
            else:
                self._leave(decoder, key)
                self._answers += 1
                row.ticket.listener.end(End(finish, row.tokens))
        return found

    def _take(self, row: Row, chosen: Chosen) -> Finish | None:
        """Tell of a token; returns the reason why it is the last, None where more follow."""
        asked = row.ticket.asked
        row.tokens += 1
        if chosen.token in asked.stops:
            self._tell(row, row.text.rest())
            return "stop"
        row.pending.append(chosen)
        text = row.text.add(chosen.token)
        last = row.tokens >= asked.sampling.max_tokens and not row.text.ended
        text += row.text.rest() if last else ""
        if text or last or row.text.ended:
            self._tell(row, text)
        return "stop" if row.text.ended else "length" if last else None

    def _tell(self, row: Row, text: str) -> None:
        if text or row.pending:
            row.ticket.listener.piece(Piece(text, tuple(row.pending)))
            row.pending = []

    def _leave(self, decoder: Decoder, key: int) -> None:
        decoder.remove(key)
        del self._rows[key]

    def _close(self) -> None:
        with self._changed:
            self._closed = True

    def _cut_rows(self, error: FtError) -> None:
        """End the answers that are being written; the decoder that held them is gone."""
        for row in self._rows.values():
            row.ticket.listener.failed(error)
        self._rows.clear()

    def _cut_all(self, error: FtError) -> None:
        self._cut_rows(error)
        with self._changed:
            waiting, self._waiting = [*self._waiting], deque()
        for ticket in waiting:
            ticket.listener.failed(error)


def _explained(error: Exception) -> FtError:
    """The error that whoever asked is told."""
    if isinstance(error, FtError):
        return error
    import traceback

    traceback.print_exception(error)  # into the run's log
    if is_exhaustion(error):
        return TrainingError("The machine has too little memory for the answers that are being written.")
    return TrainingError(f"The model failed: {type(error).__name__}.")
