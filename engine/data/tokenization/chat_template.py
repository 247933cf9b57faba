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
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.runtime

from engine.data.template_sandbox import BoundedEnvironment, OverrunError
from engine.data.tokenization.message_style import (  # fmt: skip
    ASKED,
    RESULT,
    RETURNED,
    THOUGHT,
    THOUGHT_ABOUT,
    TOOL_NAME,
    TRIAL_TOOL,
    VALUE,
    MessageStyle,
    Tools,
    calling,
    style_of,
)
from engine.data.types import Message
from engine.errors import ModelError

Span = tuple[int, int]
GIVEN = ("messages", "tools", "documents", "add_generation_prompt")
"""Globals of every template."""


class _Generation(jinja2.ext.Extension):
    """The `{% generation %}` tag, which marks what the assistant writes. Notes where its text lands."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.at = 0
        """Characters written so far."""
        self.spans: list[Span] = []

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body)
        return call.set_lineno(line)

    def _mark(self, caller: jinja2.runtime.Macro) -> str:
        text = str(caller())
        self.spans.append((self.at, self.at + len(text)))
        return text


class ChatTemplate:
    """A compiled chat template with the special tokens it may name."""

    def __init__(
        self,
        source: str,
        tokens: Mapping[str, str],
        day: date | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        """`tokens`: `bos_token`, `eos_token`… as text. `day` is the date for a template that asks for it, None
        is today. `variables` are what else it may read, as `enable_thinking`. Raises `ModelError` where the template is
        broken.
        """
        self.source = source
        self.has_marks = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None
        environment = BoundedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = environment.writing(_tojson)
        self._environment = environment
        environment.globals |= {"raise_exception": _raise, "strftime_now": partial(_now, day), **tokens}
        self._given_to_all = {*environment.globals, *GIVEN}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            place = f" (line {line})" if line else ""
            raise ModelError(
                f"the chat template cannot be read{place}: {error}",
                "Correct it, or name one of ft's in model.chat_template, as chatml.",
            ) from error
        self._overrun: ModelError | None = None
        self._globals = {**self._template.globals, **(variables or {})}
        self._generation = next(
            extension for extension in environment.extensions.values() if isinstance(extension, _Generation)
        )

    def render(self, messages: Sequence[Message], generation_prompt: bool = False, tools: Tools = ()) -> str:
        """The text of the messages. Raises `jinja2.TemplateError` where the template refuses them."""
        return "".join(self._pieces(_given(messages, generation_prompt, tools, self._style)))

    def render_marked(self, messages: Sequence[Message], tools: Tools = ()) -> tuple[str, list[Span]]:
        """The text, and the spans of it inside `{% generation %}`. Raises `jinja2.TemplateError`."""
        written: list[str] = []
        marks = self._generation
        marks.at, marks.spans = 0, []
        for piece in self._pieces(_given(messages, False, tools, self._style)):
            written.append(piece)
            marks.at += len(piece)  # the tag reads it while the text grows
        return "".join(written), marks.spans

    def _pieces(self, variables: dict[str, Any]) -> Iterator[str]:
        """Same as `Template.generate`, without its walk through all globals for every text.

        Raises `ModelError` where the template takes too much time or memory, and immediately where it has before.
        """
        if self._overrun is not None:
            raise self._overrun
        context = self._template.new_context({**self._globals, **variables}, shared=True)
        try:
            yield from self._environment.bounded(self._template.root_render_func(context), variables)
        except OverrunError as error:
            self._overrun = ModelError(
                f"the chat template takes too much: {error}",
                "Use one of ft's, as model.chat_template: chatml, or fix the model's own.",
            )
            raise self._overrun from error
        except jinja2.TemplateError:
            raise
        except Exception as error:  # the code of a template can go wrong in any way
            raise jinja2.TemplateRuntimeError(f"{type(error).__name__}: {error}") from error

    @cached_property
    def reads(self) -> frozenset[str]:
        """The variables that it looks for besides what every template is given."""
        tree = self._environment.parse(self.source)
        names = list(tree.find_all(jinja2.nodes.Name))
        # One that is set in a branch counts as read behind it: it is only where the template asks whether it is there.
        own = {name.name for name in names if name.ctx == "store"} - _asked_for(tree)
        return frozenset(jinja2.meta.find_undeclared_variables(tree)) - self._given_to_all - own

    @cached_property
    def shows_tools(self) -> bool:
        """True if it shows the model which tools there are."""
        try:
            return self.render([ASKED], True, (TRIAL_TOOL,)) != self.render([ASKED], True)
        except jinja2.TemplateError:  # it refuses this, and says of each row what it refuses
            return True

    @cached_property
    def shows_reasoning(self) -> bool:
        """True if it shows the thoughts of an assistant's turn, at least of the last one."""
        return self._shows([ASKED, THOUGHT_ABOUT], THOUGHT)

    @cached_property
    def shows_calls(self) -> bool:
        """True if it shows the calls of an assistant's turn."""
        return self._shows([ASKED, calling(VALUE)], TOOL_NAME)

    @cached_property
    def shows_results(self) -> bool:
        """True if it shows the results of tools."""
        return self._shows([ASKED, calling(VALUE), RETURNED], RESULT)

    @cached_property
    def shows_system(self) -> bool:
        """True if it shows a system message."""
        return self._shows([Message("system", RESULT), ASKED], RESULT)

    def _shows(self, messages: Sequence[Message], word: str) -> bool:
        try:
            return word in self.render(messages)
        except jinja2.TemplateError:
            return True

    @cached_property
    def _style(self) -> MessageStyle:
        def rendered(style: MessageStyle, messages: Sequence[Message], tools: Tools) -> str:
            return "".join(self._pieces(_given(messages, False, tools, style)))

        return style_of(self.source, rendered)


def _asked_for(tree: jinja2.nodes.Node) -> set[str]:
    """Names for which a template has a default where they are not defined."""
    asking = tree.find_all((jinja2.nodes.Test, jinja2.nodes.Filter))
    nodes = [node.node for node in asking if node.name in ("defined", "undefined", "default", "d")]
    return {node.name for node in nodes if isinstance(node, jinja2.nodes.Name)}


def _given(
    messages: Sequence[Message], generation_prompt: bool, tools: Tools, style: MessageStyle
) -> dict[str, Any]:
    """Variables of a template."""
    return {
        "messages": [
            style.given(message)
            if message.more or style.parts
            else {"role": message.role, "content": message.content}
            for message in messages
        ],
        "tools": list(tools) or None,
        "documents": None,
        "add_generation_prompt": generation_prompt,
    }


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
