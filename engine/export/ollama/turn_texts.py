"""Texts that a chat template writes around the contents of messages, found by rendering marked conversations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jinja2

from engine.data.types import Message

QUESTIONS = ("Quaestio", "Altera", "Tertia")
ANSWERS = ("Responsum", "Secundum")
TOLD = "Mandatum"
"""Contents of trial messages, which stand in no template."""
Render = Callable[[Sequence[Message]], str]
"""Renders messages as a prompt: with what opens the answer behind them. Raises jinja2.TemplateError."""


class NoShapeError(ValueError):
    """A template that does not put fixed texts around contents; the message says what it does."""


@dataclass(frozen=True)
class SystemTexts:
    """Texts around a system message, in front of the question that it stands before."""

    before: str
    after: str
    at_last: bool = False
    """True if it stands before the last question, not the first."""


@dataclass(frozen=True)
class TurnTexts:
    """Texts between the contents of a conversation."""

    first: str
    """In front of the first question, where there is no system message."""
    answer: str
    """Between a question and its answer."""
    question: str
    """Between an answer and the next question."""
    prompt: str
    """Behind the last question: what opens the answer."""
    system: SystemTexts | None
    """None where the template shows no system message."""

    @property
    def default_system(self) -> str:
        """The system message that the template writes where it is given none; empty where it writes none."""
        if self.system is None or self.system.at_last:
            return ""
        before, after = self.system.before, self.system.after
        if not self.first.startswith(before) or not self.first[len(before) :].endswith(after):
            return ""
        return self.first[len(before) : len(self.first) - len(after)]

    def without_start(self, text: str) -> "TurnTexts":
        """The same without `text` in front, which the program puts there itself."""
        system = self.system
        if system is not None and not system.at_last:
            system = SystemTexts(system.before.removeprefix(text), system.after)
        return TurnTexts(self.first.removeprefix(text), self.answer, self.question, self.prompt, system)


def turn_texts(render: Render) -> TurnTexts:
    """The texts of a template. Raises NoShapeError where the plainest conversations do not show them."""
    asked = [Message("user", text) for text in QUESTIONS]
    answered = [Message("assistant", text) for text in ANSWERS]
    talk = [asked[0], answered[0], asked[1], answered[1], asked[2]]
    try:
        parts = _parts(render(talk), [message.content for message in talk])
    except jinja2.TemplateError as error:
        raise NoShapeError(f"it refuses a plain conversation: {error}") from error
    first, answer, question, _, _, prompt = parts
    return TurnTexts(first, answer, question, prompt, _system(render, talk))


def _system(render: Render, talk: Sequence[Message]) -> SystemTexts | None:
    told = [Message("system", TOLD), *talk]
    try:
        text = render(told)
    except jinja2.TemplateError:
        return None
    if TOLD not in text:
        return None
    contents = [message.content for message in told]
    if text.index(TOLD) < text.index(QUESTIONS[0]):
        parts = _parts(text, contents)
        return SystemTexts(parts[0], parts[1])
    if text.rindex(ANSWERS[-1]) < text.index(TOLD) < text.index(QUESTIONS[-1]):
        parts = _parts(text, [*contents[1:-1], TOLD, contents[-1]])
        return SystemTexts(parts[-3], parts[-2], at_last=True)
    return None


def _parts(text: str, contents: Sequence[str]) -> list[str]:
    """The texts before, between and behind contents that stand in this order, each once. Raises NoShapeError."""
    parts = []
    for content in contents:
        before, found, text = text.partition(content)
        if not found or content in text:
            raise NoShapeError("it does not show every message once, in their order")
        parts.append(before)
    return [*parts, text]
