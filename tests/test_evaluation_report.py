"""The page of an evaluation: whatever rows and models write is text on it, and it needs nothing else."""

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.markup import text
from engine.evaluation.plots import BINS, Gap, differences, histogram
from engine.evaluation.report import page
from engine.evaluation.report_rows import LONGEST, MOST_ROWS

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>]]>\"'&amp;"
TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "tr", "th", "td", "small",
    "span", "ul", "li", "figure", "figcaption", "svg", "line", "circle", "rect", "text", "details", "summary", "pre",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "dir", "open", "viewBox", "role", "aria-label",
    "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "width", "height", "fill", "stroke", "stroke-width",
    "stroke-dasharray", "font-size", "text-anchor",
}  # fmt: skip


def line(title: str = "exact_match", **more: Any) -> dict[str, Any]:
    gap = {"value": 0.3, "low": 0.1, "high": 0.5, "p": 0.01, "rows": 4}
    return {
        "title": title, "format": "percent", "unit": "", "better": "higher", "value": 0.5, "interval": [0.1, 0.9],
        "against": 0.2, "against_interval": [0.05, 0.4], "difference": gap, "details": {}, "against_details": {},
        **more,
    }  # fmt: skip


def row(words: str, ours: str = "", theirs: str = "") -> dict[str, Any]:
    return {
        "where": f"{words}/rows.jsonl:3", "prompt": words, "asked": words, "reference": words,
        "answers": {"model": ours or words, "against": theirs or words}, "calls": [{"function": {"name": words}}],
        "scores": {"exact_match": {"model": 1.0, "against": 0.0}},
    }  # fmt: skip


def body(words: str) -> dict[str, Any]:
    """A result that has all its parts, with these words wherever a row, a model or a name can bring some."""
    classes = {words: {"precision": 1.0, "recall": 1.0, "f1": 1.0, "rows": 2}}
    kinds = {words: {"rows": 3, "model": 0.5, "against": 1.0}}
    task = {"task": words, "metric": "acc,none", "value": 0.5, "error": 0.1}
    return {
        "model": words, "against": words or "base", "step": 1, "texts": 1, "prompts": 1,
        "metrics": {"exact_match": line(words, details={words: words, "classes": classes})},
        "lacking": {words: words}, "differ_most": [row(words)], "differ_by": "exact_match",
        "forgetting": {"metrics": {}, "kinds": kinds, "lost": 1, "gained": 0, "lost_rows": [row(words)]},
        "tasks": [task | {"against": task}],
        "judge": {
            "model": words, "verdicts": {"model": 1, "against": 0}, "summary": words, "judged": 1, "of": 2,
            "problem": {"message": words, "hint": words}, "rows": [{"where": words, "prompt": words, "verdict": "tie"}],
        },
    }  # fmt: skip


def parsed(made: str) -> ElementTree.Element:
    """The page by a strict parser: it fails on anything that is open, doubled or no character."""
    return ElementTree.fromstring(made.removeprefix("<!doctype html>"))


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(alphabet=st.characters(), max_size=80), st.just(HOSTILE), st.just("\x00\x1b[2J\ud800\r\n")
    )
)
def test_whatever_a_row_holds_is_text_on_the_page(words: str) -> None:
    """Wherever it stands: in a prompt, an answer, a class, a model's name, a task, the judge's message."""
    made = page(body(words), [row(words)])
    made.encode()  # it can be written to a file
    elements = list(parsed(made).iter())
    assert {element.tag for element in elements} <= TAGS
    assert {name for element in elements for name in element.attrib} <= ATTRIBUTES
    assert "http" not in re.sub("http-equiv|" + re.escape(text(words)), "", made), (
        "nothing is loaded from elsewhere"
    )
    answers = [element.text or "" for element in elements if element.tag == "pre"]
    shown = "".join(ElementTree.fromstring(f"<pre>{text(words)}</pre>").itertext())
    assert answers.count(shown) >= 9, "three lists of rows, and in each the prompt and both answers"


def test_two_models_stand_beside_each_other_with_their_intervals() -> None:
    made = parsed(
        page(body("mail") | {"against": "base", "metrics": {"exact_match": line()}}, [row("x", "yes", "no")])
    )
    scores = next(made.iter("table"))
    cells = [" | ".join(cell.itertext()) for cell in scores.iter("td")]
    assert cells == [
        "exact_match",
        "50.0% | 10.0% to 90.0%",
        "20.0% | 5.0% to 40.0%",
        "+30.0% | 10.0% to 50.0%",
        "0.010",
    ]
    sides = [
        " ".join(each.itertext()) for each in list(made.iter("details"))[-1].iter("div") if each.get("class")
    ]
    assert "mail yes exact_match 1" in sides
    assert "base no exact_match 0" in sides


@pytest.mark.parametrize(("better", "kind"), [("higher", "good"), ("lower", "bad"), (None, "soft")])
def test_difference_is_coloured_where_its_interval_leaves_out_nothing(better: str | None, kind: str) -> None:
    def kinds(**more: Any) -> list[str | None]:
        made = parsed(page(body("x") | {"metrics": {"exact_match": line(better=better, **more)}}, []))
        return [each.get("class") for each in next(made.iter("table")).iter("span")]

    assert kinds() == [kind]
    assert kinds(difference={"value": 0.3, "low": -0.1, "high": 0.5, "p": 0.2, "rows": 4}) == ["soft"]


def test_rows_that_differ_most_are_open_and_the_others_folded() -> None:
    many = [row(f"row {at}") for at in range(MOST_ROWS + 1)] + [row("z" * (LONGEST + 9))]
    found = body("x") | {"forgetting": None, "differ_most": many[:2]}
    made = page(found, many)
    folded = [each.get("open") is None for each in parsed(made).iter("details")]
    assert folded == [False] * 2 + [True] * MOST_ROWS
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 2} rows" in made


def test_one_model_alone_has_no_empty_column() -> None:
    alone = {
        name: value for name, value in body("mail").items() if name not in ("forgetting", "judge", "tasks")
    }
    metrics = {"exact_match": line(against=None, against_interval=None, difference=None)}
    made = page(
        alone | {"against": None, "metrics": metrics, "differ_most": [], "differ_by": None}, [row("a")]
    )
    assert [cell.text for cell in parsed(made).iter("th")] == ["metric", "mail"]
    assert "None" not in made
    assert "<svg" not in made


def test_plot_has_every_interval_within_its_width() -> None:
    """Also one far from 0, and one that holds it; of no width where both ends are the same."""
    gaps = [
        Gap("a", 5.0, 4.0, 6.0, "+5", "good"),
        Gap("b", 0.1, -1.0, 0.5, "+0.1", "soft"),
        Gap("c", 0, 0, 0, "0", ""),
    ]
    drawn = ElementTree.fromstring(differences(gaps))
    width = float(drawn[0].attrib["viewBox"].split()[2])
    circles = [float(each.attrib["cx"]) for each in drawn.iter("circle")]
    assert circles == pytest.approx([width / 2 + 198 * 5 / 6, width / 2 + 19.8, width / 2])
    ends = [float(each.attrib[end]) for each in drawn.iter("line") for end in ("x1", "x2")]
    assert min(ends) >= 0
    assert max(ends) <= width


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=40))
def test_histogram_counts_every_row_once(values: list[float]) -> None:
    made = histogram(values, "chrf")
    if not any(values):
        assert made == ""
        return
    drawn = ElementTree.fromstring(made)
    counts = [int(each.text or "") for each in drawn.iter("text") if each.get("font-size") == "10"]
    assert (sum(counts), len(list(drawn.iter("rect")))) == (len(values), BINS)


def test_result_that_json_has_read_back_is_the_same_page() -> None:
    found = body("a <b> & c")
    assert page(json.loads(json.dumps(found)), [row("x")]) == page(found, [row("x")])
