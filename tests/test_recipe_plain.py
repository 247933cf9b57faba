"""Recipes read line by line are what the parser of all of YAML reads in them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.load import load_text
from engine.config.problems import Problem
from engine.config.profiles import SHIPPED
from engine.config.yaml_plain import read_plain
from engine.config.yaml_reader import read_yaml
from engine.errors import FtError

PLAIN = [
    "a", "1", "-1", "0.001", "1.0e-5", "1e-5", "true", "no", "null", "~", "0o17", "0x1f", ".inf", ".nan", "4bit", "[]",
    "{}", "2026-01-01", "https://host/x?a=b", "all-linear", "...", "10:30", "=", "<<", "it's", "été", "/data/x y.jsonl",
    "'a: b # c'", "'it''s'", "'é'",
]  # fmt: skip
ODD = [
    '"a"', "'a", "a: b", "a #c", "a#b", "[1, 2]", "{a: 1}", "&x 1", "*x", "!!int 1", "|", ">", "a:", "- b", "?", "%a",
    "a ", "\t", '"a\nb: c"', "a\n   b", "'a\n b'", "@a", "\u2028", "a\\", "---", "- ", "-", ":", " ", "'a' b",
]  # fmt: skip
KEYS = st.sampled_from(["a", "b", "name", "model", "null", "true", "on", "x.y", "1", '"q"', "-", "A"])
VALUES = st.sampled_from([*PLAIN, *PLAIN, *ODD])
INDENTS = st.sampled_from(["", "  ", "    ", " ", "\t"])
LINES = st.one_of(
    st.builds(lambda indent, key, value: f"{indent}{key}: {value}", INDENTS, KEYS, VALUES),
    st.builds(lambda indent, key: f"{indent}{key}:", INDENTS, KEYS),
    st.builds(lambda indent, value: f"{indent}- {value}", INDENTS, VALUES),
    st.sampled_from(
        ["", "# a comment", "  # another", "---", "...", "%YAML 1.2", "a", "- a: 1", "- - 1", "- "]
    ),
)


@settings(deadline=None, max_examples=600)
@given(lines=st.lists(LINES, max_size=8), ending=st.sampled_from(["", "\n", "\r\n"]))
def test_plain_reader_agrees_with_yaml_parser(lines: list[str], ending: str) -> None:
    text = "\n".join(lines) + ending
    plain = read_plain(text)
    if plain is not None:
        problems: list[Problem] = []
        try:
            whole = read_yaml(text, "train.yml", problems).data()
        except FtError as error:
            pytest.fail(f"{text!r} is not YAML: {error.message}")
        assert repr(plain) == repr(whole), text
        assert not problems


@pytest.mark.parametrize("profile", sorted(path.stem for path in SHIPPED.glob("*.yml")))
def test_resolved_recipe_needs_no_yaml_parser(profile: str) -> None:
    text = load_text(
        (SHIPPED / f"{profile}.yml").read_text(encoding="utf-8"), Path("/recipes/train.yml")
    ).resolved()
    assert read_plain(text) == read_yaml(text, "train.yml", []).data()
