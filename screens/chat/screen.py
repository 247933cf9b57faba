"""Chat: the trained model and the one it was made from, side by side, word by word."""

import time
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import ClassVar

from textual import work
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.worker import Worker

from engine.data.tokenization.message_style import Tools
from screens.chat.asking import Asked, ChatAsking
from screens.chat.conversation import OVER, SIDES, Answer, Conversation, Side, Turn
from screens.chat.messages import Chosen, Grown, Listed, ToolsRead
from screens.chat.models import ChatModel
from screens.chat.pick_model import PickModel
from screens.chat.prompt import Prompt
from screens.chat.transcript import Transcript
from screens.messages import ChatWith, RunsChanged

TEMPERATURES = (0.0, 0.3, 0.7, 1.0)
TICK_S = 1.0
NOTHING = (
    "Nothing is trained yet, so there is nobody to talk to.\n\n"
    "Press 1 for Home and t there to train the starter, or 4 to write a recipe.\n"
    "A run can be talked to from its first checkpoint on."
)
BEGIN = "Ask something below: both answer, each with what it has said before in mind."
TOOLS, RESULT = "/tools", "/tool"
"""Begin lines that name a file of functions which the models may call, and that give the result of a call."""


class ChatScreen(ChatAsking):
    """Two transcripts, and lines to write in."""

    SCOPE = "chat"
    CSS_PATH = "screen.tcss"
    STATES: ClassVar[tuple[str, ...]] = tuple(f"-only-{side}" for side in SIDES)
    view: reactive[str] = reactive("both", init=False)
    """`both`, `trained` or `base`; on a narrow terminal `both` shows the trained one."""
    temperature: reactive[float] = reactive(0.0, init=False)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self.talker: ChatModel | None = None
        self.conversation = Conversation()
        self.tools: Tools = ()
        """The functions that both models may call."""
        self._talk = 0
        """Counts conversations: what an earlier one still says is not for this one."""
        self._job: tuple[int, Side] | None = None
        self._asked_at = 0.0
        self._answering: Worker[None] | None = None

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="talk"):
            for side in SIDES:
                yield Transcript(side)
        yield Prompt(disabled=True)

    def on_mount(self) -> None:
        self._begin()
        self.set_interval(TICK_S, self._tick)
        self.choose_newest(self.host.runs)

    def on_runs_changed(self, message: RunsChanged) -> None:
        if self.talker is None:
            self.choose_newest(message.runs)

    def on_resize(self) -> None:
        self.call_after_refresh(self.watch_view)

    # What comes back

    def on_chosen(self, message: Chosen) -> None:
        if self.talker is not None and (message.first or message.talker == self.talker):
            return
        self.talker = message.talker
        self._begin()
        prompt = self.query_one(Prompt)
        prompt.disabled = self.talker is None
        if self.talker is not None:
            prompt.focus()
        self.watch_view()

    @work
    async def on_listed(self, message: Listed) -> None:
        if not message.talkers:
            self.notify("Nothing is trained yet.")
            return
        chosen = await self.app.push_screen_wait(PickModel(message.talkers, self.talker))
        if chosen is not None:
            self.post_message(Chosen(chosen))

    def on_grown(self, message: Grown) -> None:
        turns = self.conversation.turns
        if message.talk != self._talk or message.number >= len(turns):
            return
        turn, side = turns[message.number], message.side
        known = turn.answers.get(side)
        if known is not None and known.state in OVER:
            return  # it was stopped; what came after that is not shown
        turn.answers[side] = message.answer
        self._show(message.number, side)
        if message.answer.state in OVER:
            self._job = None
            self._next()

    def on_chat_with(self, message: ChatWith) -> None:
        self.choose(message.reference)

    def on_tools_read(self, message: ToolsRead) -> None:
        self.tools = message.tools
        names = ", ".join(str(tool["function"]["name"]) for tool in self.tools)
        self.notify(
            f"The models may call {names}. Answer a call with {RESULT} and its result."
            if names
            else f"The models have no tools; {TOOLS} FILE gives them some."
        )

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        command, _, rest = message.text.partition(" ")
        if command == TOOLS:
            self.read_tools(rest.strip())
            return
        turn = Turn(rest, "tool") if command == RESULT else Turn(message.text)
        self.conversation.turns.append(turn)
        for transcript in self.query(Transcript):
            transcript.ask(turn)
            self._show(len(self.conversation.turns) - 1, transcript.side)
        self._next()

    # What a person does

    def action_stop(self) -> None:
        if self._job is None:
            self.set_focus(None)
            return
        self._cancel()
        self.conversation.stop()
        for number in range(len(self.conversation.turns)):
            for side in SIDES:
                self._show(number, side)
        self.refresh_bindings()

    def action_pick(self) -> None:
        self.list_talkers(self.host.runs)

    def action_new(self) -> None:
        self._begin()
        self.query_one(Prompt).focus()

    def action_view(self) -> None:
        views = SIDES if self.has_class("-narrow") else ("both", *SIDES)
        now = self._in_view()[0] if self.has_class("-narrow") else self.view
        self.view = views[(views.index(now) + 1) % len(views)]

    def action_temperature(self) -> None:
        at = TEMPERATURES.index(self.temperature)
        self.temperature = TEMPERATURES[(at + 1) % len(TEMPERATURES)]

    def action_copy(self) -> None:
        text = self.conversation.last_answer(self._in_view())
        if text:
            self.app.copy_to_clipboard(text)
        self.notify("The last answer is copied." if text else "There is no answer to copy yet.")

    def action_write(self) -> None:
        self.query_one(Prompt).focus()

    def watch_view(self) -> None:
        shown = self._in_view()
        for side in SIDES:
            self.set_class(shown == [side], f"-only-{side}")
        self._titles()
        self._next()

    def watch_temperature(self) -> None:
        self._titles()

    # What is shown

    def _in_view(self) -> list[Side]:
        if self.talker is None:
            return ["trained"]
        if self.view == "both":
            return ["trained"] if self.has_class("-narrow") else list(SIDES)
        return [side for side in SIDES if side == self.view]

    def _begin(self) -> None:
        """A new conversation."""
        self._cancel()
        self._talk += 1
        self.conversation = Conversation()
        for transcript in self.query(Transcript):
            transcript.begin(BEGIN if self.talker else NOTHING)
        self._titles()

    def _next(self) -> None:
        """Ask for the next answer that is missing in what is shown, one at a time: they share one machine."""
        if self._job is not None or self.talker is None:
            return
        self._job = self.conversation.next_job(self._in_view())
        self.refresh_bindings()
        if self._job is None:
            return
        number, side = self._job
        self._asked_at = self.clock()
        messages = tuple(self.conversation.messages(number, side))
        self.conversation.turns[number].answers[side] = Answer()
        self._show(number, side)
        asked = Asked(messages, self.tools, self.temperature)
        self._answering = self.answer(self._talk, number, side, self.talker.reference, asked)

    def _cancel(self) -> None:
        self._job = None
        if self._answering is not None:
            self._answering.cancel()

    def _tick(self) -> None:
        """Show that time goes by while a model is loaded."""
        if self._job is not None:
            self._show(*self._job)

    def _show(self, number: int, side: Side) -> None:
        waited = self.clock() - self._asked_at if self._job == (number, side) else None
        answer = self.conversation.turns[number].answers.get(side)
        self.query_one(f"#{side}", Transcript).show(number, answer, waited)

    def _titles(self) -> None:
        trained, base = (self.query_one(f"#{side}", Transcript) for side in SIDES)
        trained.border_title = Content(f"trained: {self.talker.title}" if self.talker else "chat")
        name = f": {PurePath(self.talker.base).name}" if self.talker else ""
        base.border_title = Content(f"untrained{name}")
        drawn = f"temperature {self.temperature:g}" if self.temperature else "the likeliest words"
        trained.border_subtitle = base.border_subtitle = drawn if self.talker else ""
