"""Rendering of Go's text/template, as far as ft writes it, to prove a template without Go or Ollama.

The rules are those of https://pkg.go.dev/text/template; a test holds them against Go itself where it is installed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.export.ollama.go_syntax import (
    Assign,
    Block,
    Call,
    Constant,
    Expression,
    Field,
    Node,
    Print,
    Text,
    parse,
)


def render(source: str, data: Mapping[str, Any]) -> str:
    """The text of a template for data of mappings, sequences, strings, numbers and booleans.

    Raises GoSyntaxError for a template that is not known here, LookupError or TypeError where Go would fail too.
    """
    run = _Run(data)
    run.nodes(parse(source), data)
    return "".join(run.written)


class _Run:
    """One execution: what is written, and the variables in sight."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.written: list[str] = []
        self._scopes: list[dict[str, Any]] = [{"$": data}]

    def nodes(self, nodes: Sequence[Node], cursor: Any) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self.written.append(node.text)
            elif isinstance(node, Print):
                self.written.append(_printed(self._value(node.value, cursor)))
            elif isinstance(node, Assign):
                self._assign(node, self._value(node.value, cursor))
            else:
                self._block(node, cursor)

    def _assign(self, node: Assign, value: Any) -> None:
        if node.declares:
            self._scopes[-1][node.variable] = value
            return
        self._scope_of(node.variable)[node.variable] = value

    def _block(self, block: Block, cursor: Any) -> None:
        self._scopes.append({})
        value = self._value(block.value, cursor)
        if block.keyword == "range":
            self._range(block, value, cursor)
        else:
            self._scopes[-1] |= dict.fromkeys(block.variables, value)
            inner = value if block.keyword == "with" and is_true(value) else cursor
            self.nodes(block.body if is_true(value) else block.otherwise, inner)
        self._scopes.pop()

    def _range(self, block: Block, value: Any, cursor: Any) -> None:
        items = list(enumerate(value)) if not isinstance(value, Mapping) else sorted(value.items())
        for pair in items:
            names = block.variables[-2:]
            values = pair if len(names) == 2 else pair[1:]
            self._scopes.append(dict(zip(names, values, strict=False)))
            self.nodes(block.body, pair[1])
            self._scopes.pop()
        if not items:
            self.nodes(block.otherwise, cursor)

    def _scope_of(self, variable: str) -> dict[str, Any]:
        found: dict[str, Any] | None = next(
            (scope for scope in reversed(self._scopes) if variable in scope), None
        )
        if found is None:
            raise LookupError(f"undefined variable {variable}")
        return found

    def _value(self, expression: Expression, cursor: Any) -> Any:
        if isinstance(expression, Constant):
            return expression.value
        if isinstance(expression, Field):
            value = cursor if not expression.start else self._scope_of(expression.start)[expression.start]
            for name in expression.names:
                value = value.get(name, "")  # Ollama sets missingkey=zero
            return value
        if expression.function in ("and", "or"):
            return self._chain(expression, cursor)
        return _called(expression, [self._value(argument, cursor) for argument in expression.arguments])

    def _chain(self, call: Call, cursor: Any) -> Any:
        """The first empty argument of `and`, the first that is not of `or`, else the last."""
        value: Any = None
        for argument in call.arguments:
            value = self._value(argument, cursor)
            if is_true(value) == (call.function == "or"):
                return value
        return value


def is_true(value: Any) -> bool:
    """Return False for false, 0, nothing, and whatever has no items."""
    return bool(value)


def _called(call: Call, values: list[Any]) -> Any:
    name = call.function
    if name == "eq":
        return any(_same(values[0], other) for other in values[1:])
    if name == "ne":
        return not _same(values[0], values[1])
    if name == "not":
        return not is_true(values[0])
    if name == "len":
        return len(values[0].encode()) if isinstance(values[0], str) else len(values[0])
    if name == "slice":
        return (
            values[0][slice(*values[1:])] if len(values) > 2 else values[0][values[1] if values[1:] else 0 :]
        )
    if name == "index":
        found = values[0]
        for key in values[1:]:
            found = found[key]
        return found
    raise TypeError(f"function {name} is not defined")


def _same(value: Any, other: Any) -> bool:
    if type(value) is not type(other):
        raise TypeError("incompatible types for comparison")
    return bool(value == other)


def _printed(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not printed here")
