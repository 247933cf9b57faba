"""Syntax of the part of Go's text/template that Modelfiles of ft are written in, and its parser.

Meaning and grammar are those of https://pkg.go.dev/text/template: text, trim marks, comments, `if`, `else if`, `else`,
`range`, `with`, `end`, variables, fields, constants, calls of functions and parentheses. Pipes and nested templates are
not part of it.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

ACTION = re.compile(
    r"\{\{(?P<left>- )?(?P<body>(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|/\*.*?\*/|.)*?)(?P<right> -)?\}\}", re.S
)
TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:\\.|[^\"\\])*\"|`[^`]*`)|(?P<number>-?\d+)|(?P<name>[$.]?[A-Za-z_$.][\w.$]*|\$|\.)"
    r"|(?P<sign>:=|=|,|\(|\)))"
)
COMMENT = re.compile(r"\s*/\*.*\*/\s*", re.DOTALL)


class GoSyntaxError(ValueError):
    """A template is not in the part of the language that is known here."""


@dataclass(frozen=True)
class Constant:
    value: str | int | bool


@dataclass(frozen=True)
class Field:
    """A value by a path: `.Role` from the cursor, `$.System` from the data, `$m.Role` from a variable."""

    start: str
    """Empty for the cursor, else the variable's name; `$` is the data."""
    names: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple["Expression", ...]


Expression = Constant | Field | Call


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Print:
    value: Expression


@dataclass(frozen=True)
class Assign:
    variable: str
    value: Expression
    declares: bool


@dataclass
class Block:
    """`if`, `range` or `with`, its body, and what stands behind `else`."""

    keyword: str
    value: Expression
    variables: tuple[str, ...] = ()
    body: list["Node"] = field(default_factory=list)
    otherwise: list["Node"] = field(default_factory=list)


Node = Text | Print | Assign | Block


def parse(source: str) -> list[Node]:
    """The nodes of a template. Raises GoSyntaxError."""
    pieces = list(_pieces(source))
    nodes, rest = _nodes(pieces)
    if rest:
        raise GoSyntaxError(f"unexpected {{{{{rest[0][1]}}}}}")
    return nodes


def _pieces(source: str) -> Iterator[tuple[bool, str]]:
    """Texts (False) and bodies of actions (True), with the white space gone that trim marks take."""
    at, trim = 0, False
    for found in ACTION.finditer(source):
        text = source[at : found.start()]
        text = text.lstrip(" \t\r\n") if trim else text
        text = text.rstrip(" \t\r\n") if found["left"] else text
        if text:
            yield False, text
        if not COMMENT.fullmatch(found["body"]):
            yield True, found["body"].strip()
        at, trim = found.end(), bool(found["right"])
    text = source[at:].lstrip(" \t\r\n") if trim else source[at:]
    if "{{" in text:
        raise GoSyntaxError("an action is not closed")
    if text:
        yield False, text


Pieces = Sequence[tuple[bool, str]]


def _nodes(pieces: Pieces) -> tuple[list[Node], Pieces]:
    """Nodes up to the `else` or `end` of the block around them, and the pieces from there on."""
    nodes: list[Node] = []
    while pieces:
        (is_action, body), after = pieces[0], pieces[1:]
        keyword = body.split(" ", 1)[0] if is_action else ""
        if keyword in ("else", "end"):
            return nodes, pieces
        if not is_action:
            nodes.append(Text(body))
        elif keyword in ("if", "range", "with"):
            block, after = _block(body, after)
            nodes.append(block)
        else:
            nodes.append(_action(body))
        pieces = after
    return nodes, pieces


def _block(body: str, pieces: Pieces) -> tuple[Block, Pieces]:
    keyword, _, rest = body.partition(" ")
    tokens = _tokens(rest)
    names = [token for token in tokens if token[0] == "sign" and token[1] == ":="]
    variables: tuple[str, ...] = ()
    if names:
        at = tokens.index(names[0])
        variables = tuple(text for kind, text in tokens[:at] if kind == "name")
        tokens = tokens[at + 1 :]
    block = Block(keyword, _whole(tokens, body), variables)
    block.body, pieces = _nodes(pieces)
    if pieces and pieces[0][1] == "else":
        block.otherwise, pieces = _nodes(pieces[1:])
    elif pieces and pieces[0][1].startswith("else if "):
        inner, pieces = _block(pieces[0][1].removeprefix("else "), pieces[1:])
        block.otherwise = [inner]
        return block, pieces  # one `end` closes the whole chain
    if not pieces or pieces[0][1] != "end":
        raise GoSyntaxError(f"{{{{{body}}}}} has no end")
    return block, pieces[1:]


def _action(body: str) -> Node:
    tokens = _tokens(body)
    if len(tokens) > 2 and tokens[1][1] in (":=", "="):
        return Assign(tokens[0][1], _whole(tokens[2:], body), tokens[1][1] == ":=")
    return Print(_whole(tokens, body))


Token = tuple[str, str]


def _tokens(body: str) -> list[Token]:
    found, at = [], 0
    while body[at:].strip():
        match = TOKEN.match(body, at)
        if match is None:
            raise GoSyntaxError(f"cannot read {body[at:].strip()!r} in {{{{{body}}}}}")
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        at = match.end()
    return found


def _whole(tokens: list[Token], body: str) -> Expression:
    """The one expression that all tokens make: an operand, or a function with its arguments."""
    value, rest = _call(tokens, body)
    if rest:
        raise GoSyntaxError(f"unexpected {rest[0][1]!r} in {{{{{body}}}}}")
    return value


def _call(tokens: list[Token], body: str) -> tuple[Expression, list[Token]]:
    if not tokens:
        raise GoSyntaxError(f"a value is missing in {{{{{body}}}}}")
    kind, text = tokens[0]
    if kind != "name" or text[0] in "$." or text in ("true", "false"):
        return _operand(tokens, body)
    arguments, rest = [], tokens[1:]
    while rest and rest[0][1] != ")":
        argument, rest = _operand(rest, body)
        arguments.append(argument)
    return Call(text, tuple(arguments)), rest


def _operand(tokens: list[Token], body: str) -> tuple[Expression, list[Token]]:
    (kind, text), rest = tokens[0], tokens[1:]
    if text == "(":
        value, rest = _call(rest, body)
        if not rest or rest[0][1] != ")":
            raise GoSyntaxError(f"a parenthesis is not closed in {{{{{body}}}}}")
        return value, rest[1:]
    if kind == "string":
        return Constant(text[1:-1] if text[0] == "`" else ast.literal_eval(text)), rest
    if kind == "number":
        return Constant(int(text)), rest
    if text in ("true", "false"):
        return Constant(text == "true"), rest
    if kind == "name" and text[0] in "$.":
        start, _, path = text.partition(".")
        return Field(start, tuple(path.split(".")) if path else ()), rest
    raise GoSyntaxError(f"unexpected {text!r} in {{{{{body}}}}}")
