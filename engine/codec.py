"""Dataclasses to plain JSON values and back, by their type hints.

    body = encode(request)              # dicts, lists, text, numbers, true, false, null
    request = decode(PlanRequest, body)

Known types: None, bool, int, float, str, Path, Any, Literal, unions, tuples of one length or of any, Mapping with text
as keys, and dataclasses of these (not of themselves). `decode` is strict: a missing or unknown field, or a value of
another type, is an error with its place. A union is read as its first member that the value fits, so these must differ.
"""

import dataclasses
import types
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Decoder = Callable[[Any], Any]
"""Turns a JSON value into a value of its type."""
_PLAIN_TYPES = frozenset({type(None), bool, int, float, str})


class CodecError(ValueError):
    """A value that has no JSON, or JSON that is not a value of the type. The message begins with its place."""

    def __init__(self, rule: str, place: str = "") -> None:
        super().__init__(f"{place or 'the value'} {rule}")
        self.rule = rule
        self.place = place

    def within(self, step: str) -> "CodecError":
        """The same error as seen from the value that holds the place: `step` leads there, as `.name` or `[3]`."""
        inner = f"{step}.{self.place}" if self.place and self.place[0] != "[" else f"{step}{self.place}"
        return CodecError(self.rule, inner)


def encode(value: Any) -> Any:
    """The value as JSON can hold it. Raises CodecError for what has no JSON."""
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return value
    if isinstance(value, list | tuple):
        return [one if type(one) in _PLAIN_TYPES else encode(one) for one in value]
    if isinstance(value, Mapping):
        return {_key(key): encode(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {}
        for name in _names(cast(Hashable, kind)):
            one = getattr(value, name)
            found[name] = one if type(one) in _PLAIN_TYPES else encode(one)
        return found
    if isinstance(value, Path):
        return str(value)
    raise CodecError(f"has no JSON: it is {kind.__name__}")


def decode(kind: type[T], body: Any) -> T:
    """The value of type `kind` that `encode` wrote as `body`. Raises CodecError."""
    return cast(T, _decoder(cast(Hashable, kind))(body))


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise CodecError(f"has no JSON: one of its keys is {type(key).__name__}")
    return key


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind) if field.init)


@cache
def _decoder(kind: Any) -> Decoder:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda body: body
    if kind in _PLAIN:
        return _PLAIN[kind]
    if origin is Literal:
        return _literal(inner)
    if origin in (Union, types.UnionType):
        return _union(inner)
    if origin is tuple:
        return _sequence(inner[0]) if inner[-1] is Ellipsis else _fixed(inner)
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] is str:
        return _mapping(inner[1])
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast(type, kind))
    raise CodecError(f"has a type that the codec does not know: {kind}")


def _wrong(rule: str, body: Any) -> CodecError:
    return CodecError(f"has to be {rule}, not {'null' if body is None else type(body).__name__}")


def _exactly(kind: type, rule: str = "") -> Decoder:
    def read(body: Any) -> Any:
        if type(body) is not kind:
            raise _wrong(rule or kind.__name__, body)
        return body

    return read


def _float(body: Any) -> float:
    if type(body) not in (float, int):
        raise _wrong("float", body)
    return float(body)


def _path(body: Any) -> Path:
    return Path(_PLAIN[str](body))


_PLAIN: Mapping[Any, Decoder] = types.MappingProxyType(
    {
        type(None): _exactly(type(None), "null"),
        None: _exactly(type(None), "null"),
        bool: _exactly(bool),
        int: _exactly(int),
        str: _exactly(str),
        float: _float,
        Path: _path,
    }
)
_list, _dict = _exactly(list, "a list"), _exactly(dict, "a mapping")


def _literal(words: tuple[Any, ...]) -> Decoder:
    known = {(type(word), word) for word in words}

    def read(body: Any) -> Any:
        if not isinstance(body, str | int) or (type(body), body) not in known:
            raise CodecError(f"has to be one of {', '.join(map(str, words))}")
        return body

    return read


def _union(members: tuple[Any, ...]) -> Decoder:
    # A whole number is an int where there is one: float would take it too.
    decoders = [_decoder(member) for member in sorted(members, key=lambda member: member is float)]

    def read(body: Any) -> Any:
        problems = []
        for decoder in decoders:
            try:
                return decoder(body)
            except CodecError as error:
                problems.append(error)
        deepest = max(problems, key=lambda error: len(error.place))
        raise deepest if deepest.place else CodecError(" or ".join(error.rule for error in problems))

    return read


def _sequence(item: Any) -> Decoder:
    decoder = _decoder(item)

    def read(body: Any) -> Any:
        found: list[Any] = []
        try:
            for one in _list(body):
                found.append(decoder(one))  # noqa: PERF401 - its length is the place of an error
        except CodecError as error:
            raise error.within(f"[{len(found)}]") if type(body) is list else error from None
        return tuple(found)

    return read


def _fixed(items: tuple[Any, ...]) -> Decoder:
    decoders = [_decoder(item) for item in items]

    def read(body: Any) -> Any:
        if len(_list(body)) != len(decoders):
            raise CodecError(f"has to be a list of {len(decoders)}, not of {len(body)}")
        found: list[Any] = []
        try:
            for decoder, one in zip(decoders, body, strict=True):
                found.append(decoder(one))
        except CodecError as error:
            raise error.within(f"[{len(found)}]") from None
        return tuple(found)

    return read


def _mapping(item: Any) -> Decoder:
    decoder = _decoder(item)

    def read(body: Any) -> Any:
        found = {}
        for key, one in _dict(body).items():
            try:
                found[key] = decoder(one)
            except CodecError as error:
                raise error.within(key) from None
        return found

    return read


def _dataclass(kind: type) -> Decoder:
    hints = get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    decoders = {field.name: _decoder(hints[field.name]) for field in fields}
    required = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def read(body: Any) -> Any:
        given = _dict(body).keys()
        if not given <= decoders.keys():
            raise CodecError(f"has no field {min(given - decoders.keys())}")
        if not required <= given:
            raise CodecError(f"lacks the field {min(required - given)}")
        found, name = {}, ""
        try:
            for name, one in body.items():
                found[name] = decoders[name](one)
        except CodecError as error:
            raise error.within(name) from None
        try:
            return kind(**found)
        except ValueError as error:
            raise CodecError(f"cannot be: {error}") from error

    return read
