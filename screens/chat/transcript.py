"""One model's side of a conversation, growing at its end."""

import json

from rich.text import Text
from textual.containers import VerticalScroll
from textual.widgets import Static

from screens.chat.conversation import Answer, Side, Turn

PEN = "▍"
"""Stands behind an answer that is still being written."""
RATED = {"good": "✓ good", "bad": "✗ bad"}


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

    def undo(self) -> None:
        """Take back the last question and its answer."""
        answer = self._answers.pop()
        at = self.children.index(answer)
        self.children[at - 1].remove()
        answer.remove()


def _worded(answer: Answer | None, waited: float | None) -> Text:
    if answer is None:
        return Text("…", "dim")
    text = Text()
    if answer.reasoning:
        text.append(answer.reasoning + "\n\n" * answer.is_said, "dim italic")
    text.append(answer.text)
    for number, call in enumerate(answer.calls):
        function = call["function"]
        written = json.dumps(function["arguments"], ensure_ascii=False)
        text.append(f"{chr(10) if answer.text or number else ''}→ {function['name']} {written}", "bold")
    match answer.state:
        case "asked":
            gone = f", {waited:.0f} s" if waited and waited >= 1 else ""
            return Text(f"waiting for the first token{gone} …", "dim italic")
        case "answering":
            text.append(PEN)
        case "stopped":
            text.append(
                " ■ stopped" if answer.is_said or answer.reasoning else "■ stopped before the first token",
                "dim",
            )
        case "failed":
            text.append(f"{chr(10) if answer.text else ''}✗ {answer.problem}", "bold")
        case "done":
            speed = answer.tokens_per_s
            pace = f" · {speed:.0f} tok/s" if speed else ""
            if not answer.is_said:
                text.append("\n(no answer after it)" if answer.reasoning else "(an empty answer)", "dim")
            limit = " · cut at the limit" if answer.cut else ""
            text.append(f"\n{answer.tokens} tokens{pace}{limit}", "dim")
            text.append(f" · {RATED[answer.rating]}" if answer.rating else "", "bold")
    return text
