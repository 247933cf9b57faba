"""Chat templates: messages → the text that the model was trained to see.

The environment is set up as transformers does (`utils/chat_template_utils.py`), so that a template
renders to the same bytes here without importing it; a test holds the two together.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.data.types import Message
from engine.errors import ModelError

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + turn_end + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The ChatML template; `turn_end` is `<|im_end|>` where the model knows it as a token, else its end token."""

Span = tuple[int, int]


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

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        """`tokens`: `bos_token`, `eos_token`… as text. Raises `ModelError` where the template is broken."""
        self.source = source
        self.has_marks = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _raise, "strftime_now": _now, **tokens}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            place = f" (line {line})" if line else ""
            raise ModelError(
                f"the chat template cannot be read{place}: {error}",
                "Mend it, or use model.chat_template: chatml.",
            ) from error
        self._generation = next(
            extension for extension in environment.extensions.values() if isinstance(extension, _Generation)
        )

    def render(self, messages: Sequence[Message], generation_prompt: bool = False) -> str:
        """The text of the messages. Raises `jinja2.TemplateError` where the template refuses them."""
        return self._template.render(_variables(messages, generation_prompt))

    def render_marked(self, messages: Sequence[Message]) -> tuple[str, list[Span]]:
        """The text, and the spans of it inside `{% generation %}`. Raises `jinja2.TemplateError`."""
        written: list[str] = []
        spans: list[Span] = []
        self._generation.written, self._generation.spans = written, spans
        for piece in self._template.generate(_variables(messages, False)):
            written.append(piece)  # noqa: PERF402 - the tag reads the list while it grows
        return "".join(written), spans


def _variables(messages: Sequence[Message], generation_prompt: bool) -> dict[str, Any]:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return {
        "messages": turns,
        "tools": None,
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


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
