"""What the Chat screen asks for in threads: whom one can talk to, and the answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textual import work
from textual.worker import get_current_worker

from engine.data.prompt_input import tools_in
from engine.data.tokenization.message_style import Tools
from engine.data.types import Message, Sampling
from engine.errors import FtError
from engine.runs.directory.run import Run
from engine.runs.index.index import RunSummary
from screens.base import FtScreen
from screens.chat.conversation import Answer, Side, grown
from screens.chat.messages import Chosen, Grown, Listed, ToolsRead
from screens.chat.models import chat_model_of, chat_models, newest
from screens.messages import WentWrong

MAX_TOKENS = 1024


@dataclass(frozen=True)
class Asked:
    """What a model is asked: all that was said, the functions that it may call, and how freely to draw."""

    messages: tuple[Message, ...]
    tools: Tools
    temperature: float


class ChatAsking(FtScreen):
    """A screen whose questions come back as `Chosen`, `Listed` and `Grown`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock

    @work(thread=True, exclusive=True, group="newest")
    def choose_newest(self, runs: Sequence[RunSummary]) -> None:
        """Find somebody to talk to."""
        self.post_answer(Chosen(newest(runs), first=True))

    @work(thread=True, exclusive=True, group="choose")
    def choose(self, reference: str) -> None:
        """Open a run or checkpoint."""
        try:
            self.post_answer(Chosen(chat_model_of(reference)))
        except FtError as error:
            self.app.post_message(WentWrong(error))

    @work(thread=True, exclusive=True, group="list")
    def list_talkers(self, runs: Sequence[RunSummary]) -> None:
        """Look what there is to choose from."""
        self.post_answer(Listed(chat_models(runs)))

    @work(thread=True, exclusive=True, group="tools")
    def read_tools(self, file: str) -> None:
        """Read the functions that the models may call; without a file, there are none."""
        try:
            self.post_answer(ToolsRead(tools_in(Path(file).expanduser()) if file else ()))
        except FtError as error:
            self.app.post_message(WentWrong(error))

    @work(thread=True, exclusive=True, group="answer")
    def answer(self, talk: int, number: int, side: Side, reference: str, asked: Asked) -> None:
        """Stream one side's answer to one question."""
        worker, answer = get_current_worker(), Answer()
        try:
            run = Run.open(reference)
            pieces = self.host.service().generate(
                run,
                asked.messages,
                Sampling(MAX_TOKENS, asked.temperature, number),
                tools=asked.tools,
                base=side == "base",
                cancelled=worker.cancelled_event,
            )
            for answer in grown(pieces, self.clock):
                self.post_message(Grown(talk, number, side, answer))
        except FtError as error:
            problem = "\n  ".join(each for each in (error.message, error.hint) if each)
            answer = replace(answer, state="failed", problem=problem)
        else:
            answer = replace(answer, state="stopped" if worker.is_cancelled else "done")
        self.post_message(Grown(talk, number, side, answer))
