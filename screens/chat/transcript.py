"""One model's side of a conversation, growing at its end."""

from rich.text import Text
from textual.containers import VerticalScroll
from textual.widgets import Static

from screens.chat.conversation import Answer, Side, Turn

PEN = "▍"
"""Stands behind an answer that is still being written."""


class Transcript(VerticalScroll):
    """Questions and answers, one below the other; stays at the end while it grows, unless scrolled away."""

    DEFAULT_CSS = """
    Transcript { padding: 0 1; scrollbar-size-vertical: 1; }
    Transcript .question { margin-top: 1; color: $text-muted; }
    Transcript .answer { color: $foreground; padding-left: 2; }
    Transcript .empty { color: $text-muted; padding: 1; }
    """

    def __init__(self, side: Side) -> None:
        super().__init__(id=side)
        self.side = side
        self._answers: list[Static] = []

    def on_mount(self) -> None:
        self.anchor()

    def begin(self, hint: str) -> None:
        """A new conversation; `hint` says what to do."""
        self._answers = []
        self.remove_children()
        self.mount(Static(hint, classes="empty", markup=False))

    def ask(self, turn: Turn) -> None:
        """A new question at the end."""
        self.query(".empty").remove()
        answer = Static(classes="answer", markup=False)
        self._answers.append(answer)
        question = Text("> " + turn.question.replace("\n", "\n  "))
        self.mount(Static(question, classes="question", markup=False), answer)
        self.anchor()

    def show(self, number: int, answer: Answer | None, waited: float | None) -> None:
        """The answer of a turn as it is now. `waited` seconds have gone by without a word."""
        self._answers[number].update(_worded(answer, waited))


def _worded(answer: Answer | None, waited: float | None) -> Text:
    if answer is None:
        return Text("…", "dim")
    text = Text(answer.text)
    match answer.state:
        case "asked":
            gone = f", {waited:.0f} s" if waited and waited >= 1 else ""
            return Text(f"waiting for the first token{gone} …", "dim italic")
        case "answering":
            text.append(PEN)
        case "stopped":
            text.append(" ■ stopped" if answer.text else "■ stopped before the first token", "dim")
        case "failed":
            text.append(f"{chr(10) if answer.text else ''}✗ {answer.problem}", "bold")
        case "done":
            speed = answer.tokens_per_s
            pace = f" · {speed:.0f} tok/s" if speed else ""
            if not answer.text:
                text.append("(an empty answer)", "dim")
            text.append(f"\n{answer.tokens} tokens{pace}", "dim")
    return text
