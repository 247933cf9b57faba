"""A conversation with a trained model and its base: who answers, what was said, and the answer being written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from textual.message import Message as TextualMessage
from textual.worker import Worker, get_current_worker

from engine import paths
from engine.data.feedback import Feedback, Rating
from engine.data.prompt_input import tools_in
from engine.data.sampling_input import sampling_of, setting
from engine.data.tokenization.message_style import Tools
from engine.data.types import Message, Sampling
from engine.errors import FtError
from engine.runs.index.summary import RunSummary
from screens.base import FtScreen
from screens.chat.conversation import OVER, Answer, Conversation, Side, Turn, grown
from screens.chat.models import ChatModel, chat_model_of, chat_models, newest
from screens.messages import WentWrong

MAX_TOKENS = 1024


class Grown(TextualMessage):
    """An answer as it is now; a newer one replaces an older one in the queue. `session` counts conversations."""

    def __init__(self, session: int, number: int, side: Side, answer: Answer) -> None:
        super().__init__()
        self.session, self.number, self.side, self.answer = session, number, side, answer

    def can_replace(self, message: TextualMessage) -> bool:
        return (
            isinstance(message, Grown)
            and (message.session, message.number, message.side) == (self.session, self.number, self.side)
            and message.answer.state not in OVER
        )


class ToolsRead(TextualMessage):
    """The functions that the models may call from now on."""

    def __init__(self, tools: Tools) -> None:
        super().__init__()
        self.tools = tools


class Chosen(TextualMessage):
    """The model to chat with; None where none is trained. `first`: only where none is chosen yet."""

    def __init__(self, model: ChatModel | None, first: bool = False) -> None:
        super().__init__()
        self.model, self.first = model, first


class Listed(TextualMessage):
    """All models that there are to chat with."""

    def __init__(self, models: list[ChatModel]) -> None:
        super().__init__()
        self.models = models


@dataclass(frozen=True)
class Asked:
    """Request for one answer: all that was said, the functions that may be called, and how tokens are drawn."""

    messages: tuple[Message, ...]
    tools: Tools
    sampling: Sampling


class ChatSession:
    """State of the chat. Threads of the screen's find models and answers, and post the messages above to it."""

    def __init__(self, screen: FtScreen, clock: Callable[[], float]) -> None:
        self._screen = screen
        self._clock = clock
        self.model: ChatModel | None = None
        self.conversation = Conversation()
        self.tools: Tools = ()
        """The functions that both models may call."""
        self.settings: dict[str, float] = {}
        """Settings of sampling that are not as by default."""
        self.feedback = Feedback(paths.home() / "feedback")
        self.number = 0
        """Counts conversations: an answer to an earlier one is not for this one."""
        self.job: tuple[int, Side] | None = None
        """Turn and side of the answer that is being written."""
        self._asked_at = 0.0
        self._answering: Worker[None] | None = None

    # What a person does

    def begin(self) -> None:
        """Start a new conversation."""
        self._cancel()
        self.number += 1
        self.conversation = Conversation()

    def add(self, turn: Turn) -> int:
        """Add a question, or a tool's result; returns its number."""
        self.conversation.turns.append(turn)
        return len(self.conversation.turns) - 1

    def set(self, line: str) -> None:
        """Change a setting of sampling, as `top_p 0.9`. Raises ConfigError."""
        name, value = setting(line)
        self.settings.pop(name, None)
        if value != getattr(Sampling(MAX_TOKENS), name):
            self.settings[name] = value

    def sampling(self, attempt: int = 0) -> Sampling:
        """Settings of the next answer. Asked again, a question has the next seed."""
        given = {"max_tokens": MAX_TOKENS, **self.settings}
        return sampling_of(given | {"seed": self.settings.get("seed", 0) + attempt})

    def rate(self, side: Side, rating: Rating) -> list[str]:
        """Rate the last answer of a side; returns sentences for the person. Raises MachineError."""
        exchange = self.conversation.exchange(side, self.tools)
        if exchange is None:
            return ["There is no finished answer to judge yet."]
        told = self.feedback.rate(exchange, rating)
        self._last(side, rating=rating)
        return told

    def edit(self, side: Side, text: str) -> list[str]:
        """Put a better text in the place of a side's last answer. Returns and raises as `rate` does."""
        exchange = self.conversation.exchange(side, self.tools)
        if exchange is None:
            return ["There is no finished answer to edit yet."]
        _, told = self.feedback.edit(exchange, text)
        self._last(side, text=text, calls=(), rating="good")
        return told

    def _last(self, side: Side, **changes: Any) -> None:
        answers = self.conversation.turns[-1].answers
        answers[side] = replace(answers[side], **changes)

    def undo(self) -> None:
        """Take back the last question and its answers."""
        self._cancel()
        self.number += 1
        self.conversation.turns.pop()

    def ask_again(self, sides: Sequence[Side]) -> None:
        """Forget the last answers of these sides, to be asked for again with the next seed."""
        self._cancel()
        self.number += 1
        turn = self.conversation.turns[-1]
        turn.attempt += 1
        for side in sides:
            turn.answers.pop(side, None)

    def ask_next(self, sides: Sequence[Side]) -> None:
        """Ask for the next missing answer of these sides, one at a time: they share one machine."""
        if self.job is not None or self.model is None:
            return
        self.job = self.conversation.next_job(sides)
        if self.job is None:
            return
        number, side = self.job
        turn = self.conversation.turns[number]
        self._asked_at = self._clock()
        asked = Asked(
            tuple(self.conversation.messages(number, side)), self.tools, self.sampling(turn.attempt)
        )
        turn.answers[side] = Answer()
        self._answering = self.answer(number, side, self.model.reference, asked)

    def stop(self) -> None:
        """Leave every question as it is answered now."""
        self._cancel()
        self.conversation.stop()

    def _cancel(self) -> None:
        self.job = None
        if self._answering is not None:
            self._answering.cancel()

    def waited(self, number: int, side: Side) -> float | None:
        """Seconds since this answer was asked for, where it is the one being written."""
        return self._clock() - self._asked_at if self.job == (number, side) else None

    # What comes back

    def choose(self, message: Chosen) -> bool:
        """Take the model, and start a new conversation with it; False where another is kept."""
        if self.model is not None and (message.first or message.model == self.model):
            return False
        self.model = message.model
        self.begin()
        return True

    def take(self, message: Grown) -> bool:
        """Take an answer as it is now; False where nobody waits for it any longer."""
        turns = self.conversation.turns
        if message.session != self.number or message.number >= len(turns):
            return False
        turn, side = turns[message.number], message.side
        known = turn.answers.get(side)
        if known is not None and known.state in OVER:
            return False  # it was stopped; what came after that is not shown
        turn.answers[side] = message.answer
        if message.answer.state in OVER:
            self.job = None
        return True

    # Threads

    def find_newest(self, runs: Sequence[RunSummary]) -> None:
        """Find the newest trained model, and post it as `Chosen`."""
        self._in_thread("newest", lambda: Chosen(newest(runs), first=True))

    def find(self, reference: str) -> None:
        """Find the model of a run or checkpoint, and post it as `Chosen`."""
        self._in_thread("choose", lambda: Chosen(chat_model_of(reference)))

    def list_models(self, runs: Sequence[RunSummary]) -> None:
        """List the models that there are, and post them as `Listed`."""
        self._in_thread("list", lambda: Listed(chat_models(runs)))

    def read_tools(self, file: str) -> None:
        """Read the functions that the models may call, none without a file, and post them as `ToolsRead`."""
        self._in_thread("tools", lambda: ToolsRead(tools_in(Path(file).expanduser()) if file else ()))

    def _in_thread(self, group: str, find: Callable[[], TextualMessage]) -> None:
        def work() -> None:
            try:
                self._screen.post_answer(find())
            except FtError as error:
                self._screen.app.post_message(WentWrong(error))

        self._screen.run_worker(work, thread=True, exclusive=True, group=group)

    def answer(self, number: int, side: Side, reference: str, asked: Asked) -> Worker[None]:
        """Stream one side's answer to one question as `Grown`."""
        stream = partial(self._stream, self.number, number, side, reference, asked)
        return self._screen.run_worker(stream, thread=True, exclusive=True, group="answer")

    def _stream(self, session: int, number: int, side: Side, reference: str, asked: Asked) -> None:
        worker, answer = get_current_worker(), Answer()
        try:
            pieces = self._screen.host.service().pieces(
                reference,
                asked.messages,
                asked.sampling,
                tools=asked.tools,
                base=side == "base",
                cancelled=worker.cancelled_event,
            )
            for answer in grown(pieces, self._clock):
                self._screen.post_message(Grown(session, number, side, answer))
        except FtError as error:
            problem = "\n  ".join(each for each in (error.message, error.hint) if each)
            answer = replace(answer, state="failed", problem=problem)
        else:
            answer = replace(answer, state="stopped" if worker.is_cancelled else "done")
        self._screen.post_message(Grown(session, number, side, answer))
