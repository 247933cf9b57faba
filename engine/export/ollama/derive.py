"""Ollama's template of a model: derived from the chat template it was trained with, and proved against it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jinja2

from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.message_style import TRIAL_TOOL
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Message
from engine.errors import ModelError
from engine.export.ollama.go_template import render
from engine.export.ollama.go_text import go_templates
from engine.export.ollama.turn_texts import NoShapeError, Render, TurnTexts, turn_texts
from engine.export.ollama.values import values_of

SERVE = "Serve it with the chat template itself: ft serve RUN, or llama-server --jinja -m FILE.gguf."
NASTY = 'Code:\n\tif a < b && c > "d": {{ x }} {% y %}\n`$.System` 北京 👩‍👩‍👧 naïve \\n </s>'
SYSTEM = Message("system", "Answer in one line.")
TALK = (
    Message("user", "What is the capital of France?"),
    Message("assistant", "Paris."),
    Message("user", "And of Italy?"),
    Message("assistant", "Rome, since 1871."),
    Message("user", NASTY),
    Message("assistant", f"So:\n\n{NASTY}"),
    Message("user", "Thanks!"),
)
CHATS: Mapping[str, Sequence[Message]] = {
    "one question": TALK[:1],
    "two questions": TALK[:3],
    "four questions": TALK,
}
"""Conversations that every template has to render the same."""
WITH_SYSTEM: Mapping[str, Sequence[Message]] = {
    f"a system message and {name}": (SYSTEM, *chat) for name, chat in CHATS.items()
}
THOUGHT = (TALK[0], Message("assistant", "<think>\nIts seat of government.\n</think>\n\nParis."), TALK[2])
SPACED = (Message("user", "  What is the capital of France?\n"),)
CASES: Mapping[str, tuple[Sequence[Message], str]] = {
    "white space around a message": (
        SPACED,
        "The chat template trims messages, and Ollama passes them as they are: leave no white space around them.",
    ),
    "thoughts in earlier answers": (
        THOUGHT,
        "The chat template drops the thoughts of earlier answers, and Ollama sends them back: leave them out of the "
        "history.",
    ),
    "a system message in the middle": (
        (*TALK[:2], SYSTEM, TALK[2]),
        "A system message stands in front of the conversation in Ollama, wherever it is given.",
    ),
}
"""Conversations that may differ, and what is told where they do."""


@dataclass(frozen=True)
class OllamaTemplate:
    """A proved template."""

    template: str
    system: str
    """SYSTEM of the Modelfile: the chat template's own default."""
    texts: TurnTexts
    adds_start: bool
    """True if the program puts the text's first token in front itself."""
    same: tuple[str, ...]
    """Conversations that it renders as the chat template does."""
    notes: tuple[str, ...]
    """Sentences about those that it does not."""


COMPLETION = OllamaTemplate(
    "{{ .Prompt }}",
    "",
    TurnTexts("", "", "", "", None),
    adds_start=True,
    same=(),
    notes=("The model has no chat template: it continues the text that it is given.",),
)
"""Template of a model that was trained on plain text, which the tokenizer puts its start in front of."""


def derive(tokenizer: Tokenizer) -> OllamaTemplate:
    """The template for Ollama that renders what a tokenizer's chat template does, or of a model without one.

    Raises ModelError where Go's template language, or what Ollama gives to it, does not make the same prompts.
    """
    if not tokenizer.delivered:
        return COMPLETION
    chat = tokenizer.template()
    start = _start(tokenizer)
    whole = _rendering(chat, "")
    try:
        texts = turn_texts(whole)
    except NoShapeError as error:
        raise _impossible(str(error)) from error
    adds_start = bool(start) and texts.first.startswith(start)
    if adds_start:
        texts = texts.without_start(start)
    wanted = _rendering(chat, start if adds_start else "")
    trials = [
        _Trial(wanted, each, texts.default_system) for each in go_templates(texts, tokenizer.shape().ends)
    ]
    trial = max(trials, key=lambda each: len(each.same))  # the first of equals
    needed = [*CHATS, *(WITH_SYSTEM if texts.system is not None else ())]
    if lacking := [name for name in needed if name not in trial.same]:
        raise _impossible(f"{lacking[0]} would come out otherwise")
    same = [name for name in trial.same if name in needed or name in CASES]
    return OllamaTemplate(
        trial.template,
        texts.default_system,
        texts,
        adds_start,
        tuple(same),
        tuple(_notes(tokenizer, texts, same)),
    )


def _notes(tokenizer: Tokenizer, texts: TurnTexts, same: Sequence[str]) -> Iterator[str]:
    if texts.system is None:
        yield "The chat template has no system message, so that Ollama's SYSTEM has no effect."
    for name, (_, note) in CASES.items():
        if name not in same:
            yield note
    if _shows_tools(tokenizer.template((TRIAL_TOOL,))):
        yield (
            "Tools are left out: Go's template language cannot write their schemas as the chat template does. "
            f"{SERVE}"
        )


@dataclass(frozen=True)
class _Trial:
    """The two renderings of a conversation."""

    chat: Render
    template: str
    system: str

    @cached_property
    def same(self) -> tuple[str, ...]:
        """Names of the conversations that are rendered the same."""
        chats = {**CHATS, **WITH_SYSTEM, **{name: messages for name, (messages, _) in CASES.items()}}
        return tuple(name for name, messages in chats.items() if self._is_same(messages))

    def _is_same(self, messages: Sequence[Message]) -> bool:
        """Return True if both are the same text; one that the chat template refuses need not be rendered."""
        try:
            wanted = self.chat(messages)
        except jinja2.TemplateError:
            return True
        return render(self.template, values_of(messages, self.system)) == wanted


def _rendering(chat: ChatTemplate, start: str) -> Render:
    return lambda messages: chat.render(messages, generation_prompt=True).removeprefix(start)


def _start(tokenizer: Tokenizer) -> str:
    """The text of the tokens that a tokenizer, and so a GGUF's reader, puts in front of every text."""
    return tokenizer.decode(tokenizer.prefix_ids, skip_special=False) if tokenizer.prefix_ids else ""


def _shows_tools(chat: ChatTemplate) -> bool:
    try:
        return chat.render(TALK[:1], True, (TRIAL_TOOL,)) != chat.render(TALK[:1], True)
    except jinja2.TemplateError:
        return False


def _impossible(why: str) -> ModelError:
    return ModelError(f"The chat template cannot be written as Ollama's: {why}.", SERVE)
