"""No row of any shape gives a traceback: each is read, or refused with its place and a reason."""

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from engine.data.formats.base import RowError
from engine.data.formats.choice import FormatChoice
from engine.data.formats.column_mapping import ColumnMapping
from engine.data.formats.detection import detect
from engine.data.formats.messages import ROLES
from engine.data.formats.registry import FORMATS, fitting
from engine.data.samples import read_row
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import REASONING
from engine.errors import DataError

GOLDEN = Path(__file__).parent / "golden"
GOOD = [json.loads(line) for file in sorted(GOLDEN.glob("*.jsonl")) for line in file.read_text().splitlines()]
TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    [
        "",
        " ",
        "[",
        "[]",
        "{}",
        '[{"role": "user"}]',
        "\ud800",
        '{"name": "f", "arguments": {}}',
        "true",
        "<|im_end|>",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | TEXT
KEYS = TEXT | st.sampled_from(
    [*REASONING, *ROLES, "role", "content", "from", "value", "weight", "tools", "text"]
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """A row of the golden files in which a few values are others, are gone, or stand twice."""
    row = copy.deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 3))):
        _spoil(draw, row)
    return row


def _spoil(draw: st.DrawFn, inside: Any) -> None:
    """Change something at any depth."""
    places = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
    if not places or draw(st.integers(0, 9)) == 0:
        inside.update(draw(st.dictionaries(KEYS, ANY, max_size=1))) if isinstance(
            inside, dict
        ) else inside.append(draw(ANY))
        return
    place = draw(st.sampled_from(places))
    if isinstance(inside[place], dict | list) and draw(st.integers(0, 3)):
        _spoil(draw, inside[place])
    elif draw(st.booleans()):
        inside[place] = draw(ANY | st.just(inside[draw(st.sampled_from(places))]))
    else:
        del inside[place]


ROWS = spoiled() | st.dictionaries(KEYS, ANY, max_size=4)


@pytest.fixture(scope="module")
def encoders(tiny_model: Path) -> list[RowEncoder]:
    """Of a template without tools, of one with marks and tools, and of one that thinks."""
    thinks = str(Path(__file__).parent / "golden" / "drops_thinking.jinja")
    return [
        RowEncoder(Tokenizer.load(tiny_model, template), train_on)
        for template, train_on in (
            ("auto", "assistant"),
            ("chatml", "last"),
            (thinks, "assistant"),
            ("llama3", "all"),
        )
    ]


ODD = (
    None, True, False, 0, 1, -1, 0.5, float("nan"), "", " ", "[", "[]", "{", "{}", "[1]", "\ud800", [], [None], [[]],
    ["a", "b"], [{}], {}, {"role": "user"}, {"name": "f"}, {"": None}, 10**400,
)  # fmt: skip
"""Values that may stand where something else is expected."""


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object and list inside a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_odd_value_in_row_is_handled(number: int, encoders: list[RowEncoder]) -> None:
    """Any value may stand at any place of a row: it is read or refused with a RowError."""
    row = copy.deepcopy(GOOD[number])
    form = fitting(row)
    assert form is not None
    for inside, key in places(row):
        right = inside[key]
        for odd in ODD:
            inside[key] = copy.deepcopy(odd)
            for encoder in encoders[1:3]:
                with suppress(RowError):
                    if read := read_row(row, "a.jsonl:1", form, encoder.train_on):
                        encoder.encode(encoder.render(read))
        inside[key] = right


@settings(max_examples=500, deadline=None)
@given(ROWS, st.none() | st.sampled_from(sorted(FORMATS)), st.integers(0, 3))
def test_any_row_is_read_or_refused(
    encoders: list[RowEncoder], row: dict[str, Any], named: str | None, which: int
) -> None:
    encoder, form = encoders[which], FORMATS[named] if named else fitting(row)
    if form is None:
        return
    try:
        read = read_row(row, "a.jsonl:1", form, encoder.train_on)
        if read is None:
            return
        examples = encoder.encode(encoder.render(read))
    except RowError:
        return
    event("read")
    assert examples
    for example in examples:
        assert all(0 < start < end <= len(example.ids) for start, end in example.spans)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(ROWS, min_size=1, max_size=3), st.sampled_from([None, {"prompt": "text", "completion": "input"}])
)
def test_format_is_detected_or_rows_refused(
    bodies: list[dict[str, Any]], columns: dict[str, str] | None
) -> None:
    rows = [(f"a.jsonl:{line}", body) for line, body in enumerate(bodies, start=1)]
    for choice in (
        FormatChoice(columns=columns),
        FormatChoice(template="{{ text }}{{ messages[0].content }}"),
    ):
        try:
            found = detect(rows, choice, "a.jsonl")
        except DataError:
            continue
        for where, body in rows:
            with suppress(RowError):
                read_row(body, where, found.row_format, "assistant")


@settings(max_examples=100, deadline=None)
@given(
    st.text(min_size=1, max_size=20) | st.sampled_from(["{{ x", "{% for a in text %}{{ a }}{% endfor %}"]),
    ROWS,
)
def test_recipe_template_writes_or_refuses_row(template: str, row: dict[str, Any]) -> None:
    with suppress(RowError, jinja2.TemplateSyntaxError):  # the recipe is refused for the latter
        assert isinstance(ColumnMapping(FormatChoice(template=template))(row)["text"], str)
