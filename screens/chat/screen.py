"""Chat: a trained model and its base model side by side, as their answers arrive."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from engine.errors import FtError
from screens.base import FtScreen
from screens.chat.conversation import SIDES, Side, Turn
from screens.chat.models import ChatModel
from screens.chat.prompt import Prompt
from screens.chat.session import ChatSession, Chosen, Grown, Listed, ToolsRead
from screens.chat.transcript import Transcript
from screens.intents import ChatWith, Intent
from screens.messages import RunsChanged, WentWrong
from screens.use.flow import use
from screens.widgets.pick import Pick

TEMPERATURES = (0.0, 0.3, 0.7, 1.0)
TICK_S = 1.0
MOST = 500
"""Models that are listed; typing finds the others."""
NOTHING = (
    "No trained model to chat with yet.\n\n"
    "Press 1 for Home and t there to train the starter, or 4 to write a recipe.\n"
    "You can chat with a run from its first checkpoint on."
)
BEGIN = "Ask something below. Both models answer, each with its own conversation so far."
BEGIN_NARROW = "Ask something below. f4 turns to the base model, which then answers the same questions."
TOOLS, RESULT = "/tools", "/tool"
"""Begin lines that name a file of functions which the models may call, and that give the result of a call."""
SET, EDIT = "/set", "/edit"
"""Begin lines that change a setting of sampling, and that give a better answer than the last one."""
LINES = ("/new", "/undo", "/regenerate", "/good", "/bad")
"""Lines that do what a key does, as in `ft chat`."""


class PickModel(Pick[ChatModel]):
    """Runs and their checkpoints, newest first."""

    HEADING = "Chat with which model?"
    PLACEHOLDER = "a few letters of the run, the step or the base model"
    NOTHING = "No model matches."

    def __init__(self, models: Sequence[ChatModel], current: ChatModel | None) -> None:
        super().__init__()
        self._models = models
        self._current = current

    def fitting(self, query: str) -> Sequence[ChatModel]:
        words = query.lower().split()
        fit = [each for each in self._models if all(w in f"{each.title} {each.base}".lower() for w in words)]
        return fit[:MOST]

    def line(self, choice: ChatModel) -> Text:
        line = Text("▸ " if choice == self._current else "  ")
        line.append(choice.run_id, "bold" if choice.what == "final" else "")
        line.append(f"  {choice.what}")
        line.append(f"  on {choice.base}", "dim")
        return line


class ChatScreen(FtScreen):
    """Two transcripts, and a prompt below them."""

    SCOPE = "chat"
    CSS_PATH = "screen.tcss"
    STATES: ClassVar[tuple[str, ...]] = tuple(f"-only-{side}" for side in SIDES)
    view: reactive[str] = reactive("both", init=False)
    """`both`, `trained` or `base`; on a narrow terminal `both` shows the trained one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.session = ChatSession(self, clock)

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="talk"):
            for side in SIDES:
                yield Transcript(side)
        yield Prompt(disabled=True)

    def on_mount(self) -> None:
        self._begin()
        self.set_interval(TICK_S, self._tick)
        self.session.find_newest(self.host.runs)

    def on_runs_changed(self, message: RunsChanged) -> None:
        if self.session.model is None:
            self.session.find_newest(message.runs)

    def on_resize(self) -> None:
        self.call_after_refresh(self.watch_view)

    # What comes back

    def on_chosen(self, message: Chosen) -> None:
        if not self.session.choose(message):
            return
        self._show_empty()
        prompt = self.query_one(Prompt)
        prompt.disabled = self.session.model is None
        if self.session.model is not None:
            prompt.focus()
        self.watch_view()

    @work
    async def on_listed(self, message: Listed) -> None:
        if not message.models:
            self.notify("No model has been trained yet.")
            return
        chosen = await self.app.push_screen_wait(PickModel(message.models, self.session.model))
        if chosen is not None:
            self.post_message(Chosen(chosen))

    def on_grown(self, message: Grown) -> None:
        if self.session.take(message):
            self._show(message.number, message.side)
            if self.session.job is None:
                self._next()

    def receive(self, intent: Intent) -> None:
        match intent:
            case ChatWith(reference):
                self.session.find(reference)
            case _:
                super().receive(intent)

    def on_tools_read(self, message: ToolsRead) -> None:
        self.session.tools = message.tools
        names = ", ".join(str(tool["function"]["name"]) for tool in message.tools)
        self.notify(
            f"The models may call {names}. Answer a call with {RESULT} and its result."
            if names
            else f"The models have no tools. {TOOLS} FILE gives them some."
        )

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        command, _, rest = message.text.partition(" ")
        if command == TOOLS:
            self.session.read_tools(rest.strip())
            return
        if command == SET:
            self._set(rest.strip())
            return
        if command == EDIT:
            self._judged(lambda: self.session.edit(self._judged_side(), rest.strip()))
            return
        if command in LINES and not rest:
            getattr(self, f"action_{command[1:]}")()
            return
        turn = Turn(rest, "tool") if command == RESULT else Turn(message.text)
        number = self.session.add(turn)
        for transcript in self.query(Transcript):
            transcript.ask(turn)
            self._show(number, transcript.side)
        self._next()

    # What a person does

    def action_stop(self) -> None:
        if self.session.job is None:
            self.set_focus(None)
            return
        self.session.stop()
        for number in range(len(self.session.conversation.turns)):
            for side in SIDES:
                self._show(number, side)
        self.refresh_bindings()

    def action_pick(self) -> None:
        self.session.list_models(self.host.runs)

    @work
    async def action_use(self) -> None:
        if (model := self.session.model) is not None:
            await use(self, model.reference, model.title)
        else:
            self.notify("There is no model to use yet: train one first.")

    def action_new(self) -> None:
        self._begin()
        self.query_one(Prompt).focus()

    def action_view(self) -> None:
        views = SIDES if self.has_class("-narrow") else ("both", *SIDES)
        now = self._in_view()[0] if self.has_class("-narrow") else self.view
        self.view = views[(views.index(now) + 1) % len(views)]

    def action_temperature(self) -> None:
        now = self.session.settings.get("temperature", 0.0)
        self._set(f"temperature {next((one for one in TEMPERATURES if one > now), TEMPERATURES[0])}")

    def action_good(self) -> None:
        self._judged(lambda: self.session.rate(self._judged_side(), "good"))

    def action_bad(self) -> None:
        self._judged(lambda: self.session.rate(self._judged_side(), "bad"))

    def action_edit(self) -> None:
        exchange = self.session.conversation.exchange(self._judged_side(), ())
        if exchange is None:
            self.notify("There is no finished answer to edit yet.")
            return
        prompt = self.query_one(Prompt)
        prompt.load_text(f"{EDIT} {exchange.answer.content}")
        prompt.move_cursor(prompt.document.end)
        prompt.focus()

    def action_regenerate(self) -> None:
        if not self.session.conversation.turns:
            self.notify("There is no answer yet.")
        elif not self.session.settings.get("temperature"):
            self.notify("Greedy decoding gives the same answer again. f5 sets a temperature.")
        else:
            self.session.ask_again(self._in_view())
            self._next()

    def action_undo(self) -> None:
        if not self.session.conversation.turns:
            self.notify("There is no question to take back.")
            return
        self.session.undo()
        for transcript in self.query(Transcript):
            transcript.undo()
        self.refresh_bindings()

    def action_copy(self) -> None:
        text = self.session.conversation.last_answer(self._in_view())
        if text:
            self.app.copy_to_clipboard(text)
        self.notify("Copied the last answer." if text else "There is no answer to copy yet.")

    def action_write(self) -> None:
        self.query_one(Prompt).focus()

    def watch_view(self) -> None:
        shown = self._in_view()
        for side in SIDES:
            self.set_class(shown == [side], f"-only-{side}")
        self._titles()
        self._next()

    # Feedback and settings

    def _judged_side(self) -> Side:
        """The side in focus, else the first one in view."""
        focused = self.focused
        return focused.side if isinstance(focused, Transcript) else self._in_view()[0]

    def _judged(self, judge: Callable[[], list[str]]) -> None:
        """Judge the last answer, show its mark, and say what was saved where."""
        try:
            told = judge()
        except FtError as error:
            self.app.post_message(WentWrong(error))
            return
        self.notify("\n".join(told))
        if self.session.conversation.turns:
            self._show(len(self.session.conversation.turns) - 1, self._judged_side())

    def _set(self, rest: str) -> None:
        try:
            self.session.set(rest)
        except FtError as error:
            self.app.post_message(WentWrong(error))
        self._titles()

    # What is shown

    def _in_view(self) -> list[Side]:
        if self.session.model is None:
            return ["trained"]
        if self.view == "both":
            return ["trained"] if self.has_class("-narrow") else list(SIDES)
        return [side for side in SIDES if side == self.view]

    def _begin(self) -> None:
        """Start a new conversation."""
        self.session.begin()
        self._show_empty()

    def _show_empty(self) -> None:
        for transcript in self.query(Transcript):
            begin = BEGIN_NARROW if self.has_class("-narrow") else BEGIN
            transcript.begin(begin if self.session.model else NOTHING)
        self._titles()

    def _next(self) -> None:
        """Ask for the next answer that is missing in what is shown."""
        before = self.session.job
        self.session.ask_next(self._in_view())
        self.refresh_bindings()
        if self.session.job is not None and self.session.job != before:
            self._show(*self.session.job)

    def _tick(self) -> None:
        """Show that time goes by while a model is loaded."""
        if self.session.job is not None:
            self._show(*self.session.job)

    def _show(self, number: int, side: Side) -> None:
        answer = self.session.conversation.turns[number].answers.get(side)
        self.query_one(f"#{side}", Transcript).show(number, answer, self.session.waited(number, side))

    def _titles(self) -> None:
        trained, base = (self.query_one(f"#{side}", Transcript) for side in SIDES)
        model = self.session.model
        trained.border_title = Content(f"trained: {model.title}" if model else "chat")
        base.border_title = Content("base model" + (f": {PurePath(model.base).name}" if model else ""))
        given = self.session.settings
        drawn = [] if given.get("temperature") else ["greedy decoding"]
        drawn += [f"{name.replace('_', ' ')} {value:g}" for name, value in given.items()]
        trained.border_subtitle = base.border_subtitle = " · ".join(drawn) if model else ""
