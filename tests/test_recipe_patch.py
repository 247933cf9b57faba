"""An edit by the form changes one key of the text, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.load import load_text
from engine.config.patch import remove, set_value
from engine.config.profiles import profile_names, profile_text
from engine.config.yaml_reader import read_yaml
from engine.config.yaml_spans import spans
from engine.config.yaml_writer import Written, inline
from engine.errors import ConfigError

RECIPE = """\
# A recipe with comments.
name: café        # what lists show

model:
  base: "starter"

adapter:          # small
  # rank: 8
training:
    epochs: 2     # passes

    learning_rate: 1e-3
evaluation:
  metrics: [perplexity, exact_match]   # two
  samples:        # prompts
    - one         # the first
    # between
    - 'two'
data: {train: starter, validation: 0.1}
# the end
"""


def edited(key: str, value: object, text: str = RECIPE) -> tuple[list[str], list[str]]:
    """Lines that an edit took out, and that it put in."""
    before, after = text.splitlines(), set_value(text, key, value).splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    return before, after


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("training.epochs", 10, ["    epochs: 2     # passes"], ["    epochs: 10    # passes"]),
        ("training.learning_rate", Written("2e-4"), ["    learning_rate: 1e-3"], ["    learning_rate: 2e-4"]),
        ("training.max_steps", 20, [], ["    max_steps: 20"]),
        ("adapter.rank", 32, [], ["  rank: 32"]),
        ("adapter.type", "none", [], ["  type: none"]),
        ("model.base", "my model", ['  base: "starter"'], ['  base: "my model"']),
        ("name", "no", ["name: café        # what lists show"], ['name: "no"        # what lists show']),
        ("seed", 7, [], ["seed: 7"]),
        ("checkpoints.keep", 2, [], ["", "checkpoints:", "  keep: 2"]),
        (
            "data.validation",
            "held out.jsonl",
            ["data: {train: starter, validation: 0.1}"],
            ["data: {train: starter, validation: held out.jsonl}"],
        ),
        (
            "data.max_samples",
            9,
            ["data: {train: starter, validation: 0.1}"],
            ["data: {train: starter, validation: 0.1, max_samples: 9}"],
        ),
        ("evaluation.samples", ["one", "two", "three"], [], ["    - three"]),
        ("evaluation.samples", ["one"], ["    - 'two'"], []),
        ("evaluation.samples", ["one", "2"], ["    - 'two'"], ["    - '2'"]),
        (
            "evaluation.metrics",
            ["exact_match"],
            ["  metrics: [perplexity, exact_match]   # two"],
            ["  metrics: [exact_match]   # two"],
        ),
    ],
)
def test_only_the_line_of_the_key_changes(
    key: str, value: object, before: list[str], after: list[str]
) -> None:
    assert edited(key, value) == (before, after)


def test_setting_the_same_value_changes_nothing() -> None:
    assert set_value(RECIPE, "evaluation.samples", ["one", "two"]) == RECIPE
    assert remove(RECIPE, "training.max_steps") == RECIPE
    assert remove(RECIPE, "output.dir") == RECIPE


def test_list_of_lines_becomes_one_value() -> None:
    """The comment of its key stays."""
    text = set_value(RECIPE, "evaluation.samples", [])
    assert "  samples: []        # prompts\ndata:" in text


def test_removing_a_key_takes_only_its_line() -> None:
    assert remove(RECIPE, "training.epochs") == RECIPE.replace("    epochs: 2     # passes\n", "")
    assert remove(RECIPE, "data.validation") == RECIPE.replace(", validation: 0.1", "")
    assert remove(RECIPE, "data.train") == RECIPE.replace("train: starter, ", "")
    assert "one" not in remove(RECIPE, "evaluation.samples")


@pytest.mark.parametrize("text", ["", "# nothing yet", "# nothing yet\n", "---\n", "~"])
def test_a_text_without_keys_gets_its_first(text: str) -> None:
    if text == "~":
        with pytest.raises(ConfigError):
            set_value(text, "model.base", "starter")
        return
    new = set_value(text, "model.base", "starter")
    assert new.startswith(text)
    assert data(new) == {"model": {"base": "starter"}}


def test_value_used_elsewhere_is_not_edited() -> None:
    text = "evaluation:\n  every: &n 50\ncheckpoints:\n  every: *n\n"
    with pytest.raises(ConfigError, match=r"used elsewhere as \*n"):
        set_value(text, "evaluation.every", 10)
    assert set_value(text, "checkpoints.every", 10) == text.replace("*n", "10")


def test_section_without_mapping_is_not_edited() -> None:
    with pytest.raises(ConfigError, match="adapter is not a mapping"):
        set_value("adapter: lora\n", "adapter.rank", 8)


def test_invalid_yaml_text_says_where() -> None:
    with pytest.raises(ConfigError, match=":1:"):
        set_value("model: [starter\n", "adapter.rank", 8)


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_key_can_be_edited(name: str) -> None:
    text = profile_text(name)
    path = Path("/recipes/train.yml")
    config = load_text(text, path).config.model_dump()
    for section, keys in config.items():
        for key, value in keys.items() if isinstance(keys, dict) else [("", keys)]:
            text = set_value(text, f"{section}.{key}".rstrip("."), value)
    assert load_text(text, path).config.model_dump() == config
    comments = [line.partition("#")[2] for line in profile_text(name).splitlines() if "#" in line]
    assert all(comment in text for comment in comments)


# Any recipe, any layout

WORDS = st.sampled_from(
    [
        "starter",
        "no",
        "2e-4",
        "010",
        "a: b",
        "# x",
        "it's",
        'say "hi"',
        "ünï ☃",
        "/a b/c.jsonl",
        "",
        " a ",
        "-",
        "~",
    ]
) | st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats(allow_nan=False) | WORDS
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(WORDS, SCALARS, max_size=2)
KEYS = ("alpha", "base", "every", "rank")
SECTIONS = ("adapter", "data", "model", "name")
NOISE = st.sampled_from(["", "", "", "  # a comment: with {signs}", " #"])
BETWEEN = st.sampled_from(["", "", "\n", "# a line\n", "\n\n    # deep\n"])


@st.composite
def laid_out(draw: st.DrawFn) -> str:
    """A recipe's text in one of many layouts."""
    indent = " " * draw(st.sampled_from([1, 2, 4]))
    lines = [draw(st.sampled_from(["", "# head\n", "\n", "---\n"]))]
    for section in draw(st.permutations(SECTIONS))[: draw(st.integers(0, 4))]:
        lines.append(draw(BETWEEN))
        form = draw(st.sampled_from(["block", "block", "flow", "value", "empty"]))
        keys = draw(st.permutations(KEYS))[: draw(st.integers(1, 4))]
        if form == "value":
            lines.append(f"{section}: {_value(draw)}{draw(NOISE)}\n")
        elif form == "empty":
            lines.append(f"{section}:{draw(st.sampled_from(['', ' ', ' ~', ' null']))}{draw(NOISE)}\n")
        elif form == "flow":
            pairs = ", ".join(f"{key}: {_value(draw)}" for key in keys)
            lines.append(f"{section}: {{{pairs}}}{draw(NOISE)}\n")
        else:
            lines.append(f"{section}:{draw(NOISE)}\n")
            for key in keys:
                lines += [draw(BETWEEN), indent, _entry(draw, key, indent)]
    text = "".join(lines) + draw(BETWEEN)
    if not {"|", ">"} & set(text):  # a last line break is part of a block scalar above it
        text = text if draw(st.booleans()) else text.rstrip("\n")
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


def _value(draw: st.DrawFn) -> str:
    return inline(draw(VALUES), draw(st.sampled_from(["", "'", '"'])))


def _entry(draw: st.DrawFn, key: str, indent: str) -> str:
    form = draw(st.sampled_from(["value", "value", "empty", "list", "literal", "folded"]))
    if form == "empty":
        return f"{key}:{draw(NOISE)}\n"
    if form == "list":
        dash = indent + draw(st.sampled_from(["", "  "])) + "- "
        items = draw(st.lists(SCALARS, min_size=1, max_size=4))
        return f"{key}:{draw(NOISE)}\n" + "".join(
            f"{draw(BETWEEN)}{dash}{inline(item)}{draw(NOISE)}\n" for item in items
        )
    if form == "literal":
        return f"{key}: {draw(st.sampled_from(['|', '>', '|-']))}\n{indent * 2}some text\n{indent * 2}more of it\n"
    if form == "folded":
        return f"{key}: some words\n{indent * 2}and more\n"
    return f"{key}: {_value(draw)}{draw(NOISE)}\n"


def data(text: str) -> Any:
    return read_yaml(text, "", []).data()


def canonical(value: Any) -> str:
    """Types count; a section without keys is an empty one."""
    if isinstance(value, dict):
        value = {key: item if item != {} else None for key, item in value.items()}
    return json.dumps(value or None, sort_keys=True)


@given(laid_out(), st.sampled_from(SECTIONS), st.sampled_from(KEYS), VALUES)
@settings(max_examples=200, deadline=None)
def test_edit_changes_its_key_alone(text: str, section: str, key: str, value: Any) -> None:
    before = data(text) or {}
    inside = before.get(section)
    if inside is not None and not isinstance(inside, dict):
        with pytest.raises(ConfigError):
            set_value(text, f"{section}.{key}", value)
        return
    after = set_value(text, f"{section}.{key}", value)
    assert canonical(data(after)) == canonical({**before, section: {**(inside or {}), key: value}})
    assert_rest_stays(text, after, section, key)
    try:
        without = remove(after, f"{section}.{key}")
    except ConfigError:  # see the test below
        assert {"|", ">"} & set(after)
        assert "# deep" in after
        return
    rest = {name: item for name, item in (inside or {}).items() if name != key}
    assert canonical(data(without)) == canonical({**before, section: rest or None})


def test_comment_turning_into_text_keeps_key() -> None:
    """Without the key between them, the deeper comment would be a line of the block above."""
    text = "name:\n alpha: |\n  some text\n base: null\n\n    # deep\n"
    with pytest.raises(ConfigError, match="only a person should edit"):
        remove(text, "name.base")


def assert_rest_stays(before: str, after: str, section: str, key: str) -> None:
    """Only characters from the key to the end of its value's last line may differ."""
    if before == after:
        return
    same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    rest = len(before) - same
    end = next((i for i in range(min(rest, len(after) - same)) if before[-1 - i] != after[-1 - i]), rest)
    root, _ = spans(before)
    above = root.entry(section) if root else None
    found = above[1].entry(key) if above else None
    if found:
        assert same >= found[0].start
        assert (
            len(before) - end
            <= len(before[: found[1].end]) + len(before[found[1].end :].partition("\n")[0]) + 1
        )
    else:
        # All of the old text is still there, but for a `~` in the line above the section's first key.
        assert len(before) - end - same <= (max(map(len, before.splitlines())) if above else 0)


@given(VALUES)
@settings(deadline=None)
def test_written_value_reads_back_the_same(value: Any) -> None:
    text = inline(value)
    assert "\n" not in text
    assert data(f"key: {text}\n")["key"] == value
