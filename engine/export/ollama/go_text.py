"""A Go template that writes given texts around the contents of messages."""

import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from engine.export.ollama.turn_texts import TurnTexts

QUOTED = re.compile(r'"""|\{\{|\}\}|[^\x20-\x7e]')

ESCAPES = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def go_templates(texts: TurnTexts, ends: Collection[str]) -> Iterator[str]:
    """Templates that may do, the one that allows most first.

    None has a trim mark: every character outside their actions is written. `ends` are the texts that end a turn, which
    decide to which turn a text is given, and nothing else.
    """
    turns, system = Turns.of(texts, ends), texts.system
    if system is None:
        yield _in_front(texts, turns) if turns.opens(texts.first) else _in_first(texts, turns)
    elif system.at_last:
        yield _in_last(texts, turns)
    elif turns.opens(texts.first) and turns.opens(system.after):
        yield _in_place(texts, turns)
        yield _in_front(texts, turns)
    else:
        yield _in_first(texts, turns)


def _in_place(texts: TurnTexts, turns: "Turns") -> str:
    """A system message is a turn of its own, wherever it stands."""
    assert texts.system is not None
    before, head = texts.system.before, turns.head(texts.first)
    start = "" if texts.default_system else head
    default = (
        f"{{{{ if not .System }}}}{quoted(head)}{{{{ end }}}}" if texts.default_system else quoted(start)
    )
    told = f"{quoted(before.removeprefix(start))}{{{{ .Content }}}}{quoted(turns.head(texts.system.after))}"
    roles = f'{{{{ if eq .Role "system" }}}}{told}{{{{ else if eq .Role "user" }}}}{quoted(turns.question)}'
    return f"{default}{{{{ range .Messages }}}}{roles}{turns.rest}"


def _in_front(texts: TurnTexts, turns: "Turns") -> str:
    """A system message stands in front of all turns."""
    opening = quoted(turns.head(texts.first))
    if texts.system is not None:
        after = turns.head(texts.system.after)
        opening = _either(texts.system.before, after, turns.head(texts.first), ".System")
    return (
        f'{opening}{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{quoted(turns.question)}{turns.rest}'
    )


def _in_first(texts: TurnTexts, turns: "Turns") -> str:
    """The first question opens otherwise than later ones, and a system message is part of it."""
    first = quoted(texts.first)
    if texts.system is not None:
        first = _either(texts.system.before, texts.system.after, texts.first, "$.System")
    return (
        '{{ $first := true }}{{ range .Messages }}{{ if eq .Role "user" }}{{ if $first }}{{ $first = false }}'
        f"{first}{{{{ else }}}}{quoted(turns.question)}{{{{ end }}}}{turns.rest}"
    )


def _in_last(texts: TurnTexts, turns: "Turns") -> str:
    """A system message is part of the last question."""
    assert texts.system is not None
    inserted = texts.system.before.removeprefix(turns.answer_end)
    return (
        f"{quoted(turns.head(texts.first))}{{{{ range $i, $message := .Messages }}}}"
        '{{ if eq .Role "user" }}{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}'
        f"{quoted(inserted)}{{{{ $.System }}}}{quoted(texts.system.after)}"
        f"{{{{ else }}}}{quoted(turns.question)}{{{{ end }}}}{turns.rest}"
    )


@dataclass(frozen=True)
class Turns:
    """The texts of a conversation, each given to the turn that it belongs to."""

    question: str
    question_end: str
    answer: str
    answer_end: str
    prompt: str

    @staticmethod
    def of(texts: TurnTexts, ends: Collection[str]) -> "Turns":
        answer_end = _end(texts.question, ends)
        question = texts.question[len(answer_end) :]
        question_end = _end(texts.answer, ends)
        if not texts.prompt.startswith(question_end):
            question_end = ""
        if not question_end and texts.answer == texts.prompt:
            question_end = texts.answer
        answer, prompt = (text[len(question_end) :] for text in (texts.answer, texts.prompt))
        return Turns(question, question_end, answer, answer_end, prompt)

    @property
    def rest(self) -> str:
        """The template behind what opens a question: to its end, answers, and what opens the next answer."""
        return (
            f"{{{{ .Content }}}}{quoted(self.question_end)}"
            f'{{{{ else if eq .Role "assistant" }}}}{quoted(self.answer)}{{{{ .Content }}}}{quoted(self.answer_end)}'
            f"{{{{ end }}}}{{{{ end }}}}{quoted(self.prompt)}"
        )

    def opens(self, text: str) -> bool:
        """Return True if a question opens as a later one does after `text`."""
        return text.endswith(self.question)

    def head(self, text: str) -> str:
        """What stands before the opening of a question."""
        return text.removesuffix(self.question)


def quoted(text: str) -> str:
    """Text as a template and a Modelfile hold it: what either would take for its own is a constant of Go's.

    A Modelfile drops characters that are not printable (Ollama's parser/parser.go, `ParseFile`).
    """
    return QUOTED.sub(lambda found: _constant(found[0]), text)


def _constant(text: str) -> str:
    if text in ("\n", "\t") or (len(text) == 1 and text.isprintable()):
        return text
    return '{{ "' + "".join(map(_escaped, text)) + '" }}'


def _escaped(char: str) -> str:
    """A character within a string constant of Go's."""
    if char in ESCAPES:
        return ESCAPES[char]
    return (
        char
        if " " <= char <= "~"
        else f"\\u{ord(char):04x}"
        if ord(char) < 1 << 16
        else f"\\U{ord(char):08x}"
    )


def _end(text: str, ends: Collection[str]) -> str:
    """What ends the turn before: an end token, and line breaks behind it."""
    found = next((end for end in sorted(ends, key=len, reverse=True) if end and text.startswith(end)), "")
    rest = text[len(found) :]
    return text[: len(text) - len(rest.lstrip("\n"))] if found else ""


def _either(before: str, after: str, without: str, system: str) -> str:
    """The texts around a system message where there is one, and else another; what they share in front stands once."""
    same = (pair[0] == pair[1] for pair in zip(before, without, strict=False))
    shared = "".join(char for char, _ in zip(before, itertools.takewhile(bool, same), strict=False))
    before, without = before[len(shared) :], without[len(shared) :]
    otherwise = f"{{{{ else }}}}{quoted(without)}" if without else ""
    return (
        f"{quoted(shared)}{{{{ if {system} }}}}{quoted(before)}{{{{ {system} }}}}{quoted(after)}"
        f"{otherwise}{{{{ end }}}}"
    )
