"""Jinja for templates of strangers: nothing of Python is reached, and what one text costs is bounded.

jinja2's sandbox keeps a template from code, not from time and memory: loops in loops, `"x" * 10 ** 10`, a list of lists
of lists that is written out. Here every loop and macro counts its rounds, and what is written or put together, wherever
that can become much longer than what goes in, is counted before it is made.
"""

import functools
import operator
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import BuiltinMethodType
from typing import Any

import jinja2
import jinja2.nodes as nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_CHARACTERS = 64_000_000
"""Bytes that one text may take, intermediate values included, besides `TIMES` what its variables hold."""
TIMES = 50
MOST_SECONDS = 10.0
"""Seconds of processor time for one text; a conversation of a hundred thousand turns takes about one."""
LARGE = 10_000_000
"""No width, count or exponent is larger; a format that names one has so many digits."""
MOST_BITS = 100_000
"""Most bits of a product of whole numbers."""
LONGEST_SUM = 32
"""Terms of a sum that is written in one go: it is counted once it is made, those of longer ones before."""
LARGE_FORMAT = re.compile(r"\d{8,}")
PERCENT_FIELD = re.compile(r"%(?:\([^)]*\))?([#0\- +\d.*]*)")
"""A field of `text % values`, and how wide it is."""
BRACED_FIELD = re.compile(r"\{([^{}]*\{?)")
"""The same of `text.format(values)`; with a { in it where a value says how wide it is."""
POINTER = 8
"""Characters that an item of a list counts as."""
EVERY = 16
"""Rounds between two looks at the clock."""
ROUND = 100_000
"""Characters that count as a round."""
SIZED = ("center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes")
"""Methods whose result is as long as their arguments say."""
GUARDED = (*SIZED, "join", "replace", "translate")
SIZED_FILTERS = ("batch", "center", "indent", "slice", "wordwrap")
NESTING_FILTERS = ("batch", "slice", "groupby")
"""Filters that make lists of lists."""


class OverrunError(Exception):
    """A template that takes too much, in words."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates are rendered by `bounded`. One text at a time: it counts in itself."""

    intercepted_binops = frozenset(("*", "%", "**"))

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=self._written, **options)
        self._left, self._rounds, self._started = MOST_CHARACTERS, EVERY, 0.0
        self._variables: Mapping[str, Any] | None = None
        del self.globals["lipsum"]  # text of any length
        self.globals["dict"] = lambda *args, **kwargs: self._collection(None, dict(*args, **kwargs))
        for name, function in list(self.filters.items()):
            self.filters[name] = self._counted(function, name)
        self.filters["join"] = self._counted(self._checking_join(self.filters["join"]), "join")
        self.filters["replace"] = self._checking_replace(self.filters["replace"])
        self.filters["tojson"] = self.writing(self.filters["tojson"])
        self.filters["pprint"] = self.writing(self.filters["pprint"])
        self.filters["string"] = self.writing(self.filters["string"])
        self.filters["format"] = self._checking_format(self.filters["format"])
        self.filters["sum"] = self._checking_sum(self.filters["sum"])
        own: dict[str, Callable[..., Any]] = {
            "ft_round": self._round,
            "ft_add": self._add,
            "ft_concat": self._concat,
            "ft_collection": self._collection,
        }
        for name, function in own.items():
            # With a context, none of them is worked out while the template is compiled.
            self.filters[name] = jinja2.pass_context(functools.partial(function))

    def bounded(self, pieces: Iterable[str], variables: Mapping[str, Any]) -> Iterator[str]:
        """The pieces of a text that is being rendered of these variables. Raises OverrunError."""
        self._left, self._rounds, self._started = MOST_CHARACTERS, EVERY, time.thread_time()
        self._variables = variables
        return iter(pieces)

    def writing(self, function: Callable[..., str]) -> Callable[..., str]:
        """A filter that writes a value out, once that is known to be bounded."""

        @functools.wraps(function)
        def written(value: Any, *args: Any, **kwargs: Any) -> str:
            _check_numbers((*args, *kwargs.values()))
            self._spend_on(value)
            return function(value, *args, **kwargs)

        return written

    def spend(self, characters: int) -> None:
        """Count characters before they are made. Raises OverrunError."""
        self._left -= characters
        self._rounds -= 1 + characters // ROUND
        if self._rounds < 0 or self._left < 0:
            self._look()

    def _look(self) -> None:
        """Allow for what the variables hold, once it matters, and look at the clock. Raises OverrunError."""
        if self._left < 0 and self._variables is not None:
            variables, self._variables = self._variables, None
            self._left += TIMES * size_of(variables)
        if self._left < 0:
            raise OverrunError(f"it writes more than {MOST_CHARACTERS:,} characters for one row")
        self._rounds = EVERY
        if time.thread_time() - self._started > MOST_SECONDS:
            raise OverrunError(f"it has not ended after {MOST_SECONDS:.0f} s for one row")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _guard(tree)
        tree.set_environment(self)
        return tree

    def _round(self, context: Context | None, literal: int) -> bool:
        """A round of a loop or a call of a macro, with so much text of its own. Raises OverrunError."""
        self._left -= literal
        self._rounds -= 1
        if self._rounds < 0 or self._left < 0:
            self._look()
        return True

    def _add(self, context: Context, values: list[Any]) -> Any:
        """`a + b + c`."""
        try:
            self.spend(sum(map(len, values)))
            return "".join(values)
        except TypeError:  # they are not all text
            return functools.reduce(operator.add, values)

    def _concat(self, context: Context, values: list[Any]) -> str:
        """`a ~ b`."""
        self._spend_on(values)
        return "".join(map(str, values))

    def _collection(self, context: Context | None, value: Any) -> Any:
        """A list, tuple or mapping that the template makes, or what it compares: it may hold one text, or one list of
        lists, many times."""
        if isinstance(value, list | tuple | Mapping):
            self._spend_on(value)
        return value

    def _written(self, value: Any) -> Any:
        """A value as it is written; it is put together with what is around it."""
        if isinstance(value, str):
            self._left -= len(value)
            if self._left < 0:
                self._look()
        elif isinstance(value, list | tuple | dict):
            self._spend_on(value)
        return value

    def _spend_on(self, value: Any) -> None:
        self.spend(size_of(value))

    def call_binop(self, context: Context, name: str, left: Any, right: Any) -> Any:
        """The operators whose result may be much longer than what they are given. Raises OverrunError."""
        if name == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(value, str | bytes | list | tuple):
                    self.spend(size_of(value) * max(times, 0))
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() + right.bit_length())
        elif name == "%" and isinstance(left, str | bytes):
            self._spend_on_percent(left, right)
        elif name == "**" and (abs(left) > LARGE or abs(right) > 1000):
            raise OverrunError("it computes numbers of thousands of digits")
        return super().call_binop(context, name, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return True if a template may read an attribute: not `dict.fromkeys`, which makes much of little."""
        return attr != "fromkeys" and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Bounded replacement of a method that could make much of little; None for any other value."""
        if type(value) is not BuiltinMethodType or not isinstance(text := value.__self__, str | bytes | int):
            return None
        if value.__name__ in GUARDED:
            return functools.partial(self._guarded, value)
        wrapped = super().wrap_str_format(value)
        return functools.partial(self._formatted, wrapped, str(text)) if wrapped is not None else None

    def _guarded(self, method: Callable[..., str], *args: Any) -> str:
        text, name = method.__self__, method.__name__  # type: ignore[attr-defined]
        if name in SIZED:
            _check_numbers(args)
            self.spend(size_of(text) + max((arg for arg in args if isinstance(arg, int)), default=0))
        elif name == "join" and args:
            args = (list(args[0]),)
            self._spend_on(args[0])
            self.spend(len(text) * len(args[0]))
        elif name == "replace" and len(args) > 1:
            self.spend(len(text) + text.count(args[0]) * len(args[1]))
        elif name == "translate":
            self.spend(len(text) * size_of(args))
        return method(*args)

    def _formatted(self, method: Callable[..., str], text: str, *args: Any, **kwargs: Any) -> str:
        values, fields = [*args, *kwargs.values()], BRACED_FIELD.findall(text)
        specs = [spec for _, colon, spec in (field.partition(":") for field in fields) if colon]
        self._spend_on_fields(text, len(fields), specs, values, any("{" in spec for spec in specs))
        return method(*args, **kwargs)

    def _spend_on_percent(self, text: str | bytes, values: Any) -> None:
        specs = PERCENT_FIELD.findall(str(text))
        held = [*values.values()] if isinstance(values, Mapping) else values
        held = [*held] if isinstance(held, list | tuple) else [held]
        self._spend_on_fields(text, len(specs), specs, held, any("*" in spec for spec in specs))

    def _spend_on_fields(
        self, text: str | bytes, count: int, specs: list[str], values: list[Any], by_value: bool
    ) -> None:
        """So many fields of a format, as wide as they say or, `by_value`, as a number among the values does."""
        if any(LARGE_FORMAT.search(spec) for spec in specs):
            raise OverrunError("it formats to a width of millions")
        widths = sum(int(number) for spec in specs for number in re.findall(r"\d+", spec))
        if by_value:
            widths += count * max((abs(value) for value in values if isinstance(value, int)), default=0)
        self.spend(len(text) + widths + count * size_of(values))

    def _counted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """A filter whose result is counted, and its numbers are checked where they say how long that is."""

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if name in SIZED_FILTERS:
                _check_numbers((*args, *kwargs.values()))
            found = function(*args, **kwargs)
            if isinstance(found, Generator):
                return self._each(found, name in NESTING_FILTERS)
            if isinstance(found, list):
                self.spend(size_of(found) if name in NESTING_FILTERS else len(found) * POINTER)
            elif isinstance(found, str):
                self.spend(len(found))
            return found

        return counted

    def _each(self, values: Iterable[Any], nesting: bool) -> Iterator[Any]:
        for value in values:
            self._round(None, size_of(value) if nesting or isinstance(value, str) else 1)
            yield value

    def _checking_join(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def join(context: Any, values: Any, d: str = "", attribute: Any = None) -> Any:
            parts = list(values)
            self._spend_on(parts)
            self.spend(len(str(d)) * len(parts))
            return function(context, parts, d, attribute)

        return join

    def _checking_replace(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def replace(context: Any, text: Any, old: str, new: str, count: int | None = None) -> Any:
            whole = str(text)
            self.spend(len(whole) + whole.count(str(old)) * len(str(new)))
            return function(context, text, old, new, count)

        return replace

    def _checking_format(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def format_(value: Any, *args: Any, **kwargs: Any) -> Any:
            self._spend_on_percent(str(value), kwargs or args)
            return function(value, *args, **kwargs)

        return format_

    def _checking_sum(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def sum_(environment: Any, values: Any, attribute: Any = None, start: Any = 0) -> Any:
            if isinstance(start, list | tuple):  # each sum is a new one
                values = list(values)
                self.spend((size_of(start) + size_of(values)) * len(values))
            return function(environment, values, attribute, start)

        return sum_


def size_of(value: Any, known: dict[int, int] | None = None) -> int:
    """About the length of a value as it is written out, each part as often as it is there.

    `known` are the sizes of lists and mappings by id: a list of lists of lists may hold one of them many times.
    """
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, list | tuple | Mapping):
        return 1
    known = {} if known is None else known
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, Mapping) else value
        known[id(value)] = 2 + len(value) + sum(size_of(part, known) for part in parts)
    return known[id(value)]


def _check_numbers(values: Iterable[Any]) -> None:
    if any(isinstance(value, int) and abs(value) > LARGE for value in values):
        raise OverrunError("it asks for text of tens of millions of characters")


def _check_bits(count: int) -> None:
    if count > MOST_BITS:
        raise OverrunError("it computes numbers of thousands of digits")


def _filter(value: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None)


def _guard(node: nodes.Node) -> None:
    """Have all that may take much counted, in a node and below."""
    for field in node.fields:
        value = getattr(node, field)
        if isinstance(node, nodes.Output):
            node.nodes = [_guarded_output(each) for each in node.nodes]
        elif isinstance(value, list):
            setattr(node, field, [_guarded_node(each) for each in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _guarded_node(value))
    if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
        literal = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.ExprStmt(_filter(nodes.Const(literal), "ft_round")))
    if isinstance(node, nodes.For) and node.test is not None:
        node.test = nodes.And(_filter(nodes.Const(0), "ft_round"), node.test)


def _guarded_output(node: nodes.Expr) -> nodes.Expr:
    """An expression that is written. Of a short sum only the terms are guarded: as a whole it is counted as written."""
    sums: list[nodes.Add] = []
    spine = node
    while isinstance(spine, nodes.Add):
        sums.append(spine)
        spine = spine.left
    if not sums or len(sums) > LONGEST_SUM:
        guarded: nodes.Expr = _guarded_node(node)
        return guarded
    for each in sums:
        each.right = _guarded_node(each.right)
    sums[-1].left = _guarded_node(spine)
    return node


def _guarded_node(node: Any) -> Any:
    if not isinstance(node, nodes.Node):
        return node
    _guard(node)
    match node:
        case nodes.Concat():
            return _filter(nodes.List(node.nodes), "ft_concat")
        case nodes.Add(left=nodes.Filter(name="ft_add", node=nodes.List() as chain)):
            return _filter(nodes.List([*chain.items, node.right]), "ft_add")
        case nodes.Add():
            return _filter(nodes.List([node.left, node.right]), "ft_add")
        case nodes.List() | nodes.Dict() | nodes.Tuple(ctx="load"):
            return _filter(node, "ft_collection")
        case nodes.Name(name="varargs" | "kwargs", ctx="load"):
            return _filter(node, "ft_collection")
        case nodes.Compare() if not any(isinstance(each, nodes.Const) for each in _compared(node)):
            node.expr = _filter(node.expr, "ft_collection")
            for operand in node.ops:
                operand.expr = _filter(operand.expr, "ft_collection")
    return node


def _compared(node: nodes.Compare) -> list[nodes.Expr]:
    """Operands of a comparison: with a constant, it takes no time."""
    return [node.expr, *(operand.expr for operand in node.ops)]
