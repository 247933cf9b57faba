"""Chat templates: messages → the text that the model was trained to see.

The environment is set up as transformers does (`utils/chat_template_utils.py`), so that a template
renders to the same bytes here without importing it; a test holds the two together.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property, partial
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.data.types import REASONING, Message
from engine.errors import ModelError

Span = tuple[int, int]
Tools = Sequence[Mapping[str, Any]]


class _Generation(jinja2.ext.Extension):
    """The `{% generation %}` tag, which marks what the assistant writes. Notes where its text lands."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.written: list[str] = []
        self.spans: list[Span] = []

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body)
        return call.set_lineno(line)

    def _mark(self, caller: jinja2.runtime.Macro) -> str:
        text = str(caller())
        start = sum(map(len, self.written))
        self.spans.append((start, start + len(text)))
        return text


class ChatTemplate:
    """A compiled chat template with the special tokens it may name."""

    def __init__(self, source: str, tokens: Mapping[str, str], day: date | None = None) -> None:
        """`tokens`: `bos_token`, `eos_token`… as text. `day` is what a template that asks for the date is told, None
        is today. Raises `ModelError` where the template is broken.
        """
        self.source = source
        self.has_marks = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _raise, "strftime_now": partial(_now, day), **tokens}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            place = f" (line {line})" if line else ""
            raise ModelError(
                f"the chat template cannot be read{place}: {error}",
                "Mend it, or name one of ft's in model.chat_template, as chatml.",
            ) from error
        self._globals = dict(self._template.globals)
        self._generation = next(
            extension for extension in environment.extensions.values() if isinstance(extension, _Generation)
        )

    def render(self, messages: Sequence[Message], generation_prompt: bool = False, tools: Tools = ()) -> str:
        """The text of the messages. Raises `jinja2.TemplateError` where the template refuses them."""
        return "".join(self._pieces(self._variables(messages, generation_prompt, tools)))

    def render_marked(self, messages: Sequence[Message], tools: Tools = ()) -> tuple[str, list[Span]]:
        """The text, and the spans of it inside `{% generation %}`. Raises `jinja2.TemplateError`."""
        written: list[str] = []
        spans: list[Span] = []
        self._generation.written, self._generation.spans = written, spans
        for piece in self._pieces(self._variables(messages, False, tools)):
            written.append(piece)  # noqa: PERF402 - the tag reads the list while it grows
        return "".join(written), spans

    def _pieces(self, variables: dict[str, Any]) -> Iterator[str]:
        """What `Template.generate` gives, without its walk through all globals for every text."""
        context = self._template.new_context({**self._globals, **variables}, shared=True)
        try:
            yield from self._template.root_render_func(context)
        except jinja2.TemplateError:
            raise
        except Exception as error:  # the code of a template can go wrong in any way
            raise jinja2.TemplateRuntimeError(f"{type(error).__name__}: {error}") from error

    @cached_property
    def shows_tools(self) -> bool:
        """Whether it tells the model which tools there are."""
        asked = [Message("user", "Question")]
        try:
            return self.render(asked, True, (TRIAL_TOOL,)) != self.render(asked, True)
        except jinja2.TemplateError:  # it refuses this, and says of each row what it refuses
            return True

    @cached_property
    def shows_reasoning(self) -> bool:
        """Whether it shows the thoughts of an assistant's turn, at least of the last one."""
        thought = Message("assistant", "Answered", more={"reasoning_content": _NAME})
        try:
            return _NAME in self.render([Message("user", "Question"), thought])
        except jinja2.TemplateError:
            return True

    @cached_property
    def shows_calls(self) -> bool:
        """Whether it shows the calls of an assistant's turn."""
        try:
            return _NAME in self.render(_CALLING)
        except jinja2.TemplateError:
            return True

    @cached_property
    def _arguments_as_text(self) -> bool:
        """Most templates take a call's arguments as an object; some only put them in, as the JSON that they are."""
        if "tool_calls" not in self.source:
            return False
        trials: list[tuple[Tools, bool]] = [
            (t, as_text) for t in ((), (TRIAL_TOOL,)) for as_text in (False, True)
        ]
        for tools, as_text in trials:  # a template for rows with tools may want some
            try:
                self._template.render(_given(_CALLING, False, tools, (), as_text))
            except Exception:
                continue
            return as_text
        return False

    @cached_property
    def _reasoning(self) -> tuple[str, ...]:
        """The names among `REASONING` that it looks for."""
        return tuple(name for name in REASONING if re.search(rf"[.'\"]{name}\b", self.source))

    def _variables(
        self, messages: Sequence[Message], generation_prompt: bool, tools: Tools
    ) -> dict[str, Any]:
        plain = not any(message.more for message in messages)
        names, as_text = ((), False) if plain else (self._reasoning, self._arguments_as_text)
        return _given(messages, generation_prompt, tools, names, as_text)


_NAME = "a_tool"
TRIAL_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Does something.",
        "parameters": {"type": "object", "properties": {"of": {"type": "string", "description": "What."}}},
    },
}
_CALL = {"id": "a1b2c3d4e", "type": "function", "function": {"name": _NAME, "arguments": {"of": "x"}}}
_CALLING = (Message("user", "Question"), Message("assistant", "", more={"tool_calls": [_CALL]}))
"""What a template is tried on, to learn what it shows."""


def _given(
    messages: Sequence[Message],
    generation_prompt: bool,
    tools: Tools,
    reasoning: Sequence[str],
    as_text: bool,
) -> dict[str, Any]:
    """What a template gets to see."""
    return {
        "messages": [
            _turn(message, reasoning, as_text)
            if message.more
            else {"role": message.role, "content": message.content}
            for message in messages
        ],
        "tools": list(tools) or None,
        "documents": None,
        "add_generation_prompt": generation_prompt,
    }


def _turn(message: Message, reasoning: Sequence[str], as_text: bool) -> dict[str, Any]:
    turn = {"role": message.role, "content": message.content, **(message.more or {})}
    thoughts = turn.pop("reasoning_content", None)
    if thoughts is not None:
        turn |= dict.fromkeys(reasoning, thoughts)
    if as_text and "tool_calls" in turn:
        turn["tool_calls"] = [_with_text(call) for call in turn["tool_calls"]]
    return turn


def _with_text(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    given = function["arguments"]
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """jinja2's own filter escapes HTML, which no chat template wants."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(day: date | None, pattern: str) -> str:
    return (day or datetime.now()).strftime(pattern)
