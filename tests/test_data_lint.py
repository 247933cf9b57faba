"""Findings of the lint: each kind of rubbish is found and named, and good rows are left alone."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.findings import RULES, Finding, Kind
from engine.data.formats.registry import FORMATS
from engine.data.lint.likeness import Likeness
from engine.data.lint.linter import Linter
from engine.data.lint.spread import FEWEST_ROWS, MOST_LABELS, Labels, extremes, foreign
from engine.data.lint.texts import control_tokens, damage, script
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.token_limits import Limit
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Message

NOUNS = ("tea", "soup", "pizza", "salad", "tart", "bread", "rice", "fish", "cake", "plum")
PLACES = ("harbour", "garden", "station", "market", "tower", "bridge", "island", "valley", "forest", "school")
Check = Callable[..., dict[str, Finding]]


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def good(count: int) -> list[dict[str, Any]]:
    """Different rows of different words."""
    return [
        chat(
            f"What did number {n} order at the {PLACES[n // 10 % 10]}?",
            f"At the {PLACES[n % 10]} in year {n * 37 % 101} it was {NOUNS[n // 10 % 10]} with {NOUNS[n * 7 % 10]} "
            f"for {n} and a {PLACES[n * 3 % 10]} ticket number {n * n}.",
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return Tokenizer.load(tiny_model)


@pytest.fixture
def check(tokenizer: Tokenizer) -> Check:
    """Findings by kind for rows of chat, some of them validation rows."""

    def found(
        rows: Sequence[dict[str, Any]],
        held: Sequence[dict[str, Any]] = (),
        limit: int = 512,
        *,
        held_first: bool = False,
    ) -> dict[str, Finding]:
        encoder, linter = RowEncoder(tokenizer, "assistant"), Linter(tokenizer, Limit(limit))
        parts = [(rows, False), (held, True)]
        start = 0
        for part, aside in reversed(parts) if held_first else parts:
            parsed = [FORMATS["chat"].read(row, f"a.jsonl:{number}") for number, row in enumerate(part)]
            texts = [text for row in parsed for text in encoder.render(row)]
            numbered = zip(range(start, start + len(parsed)), parsed, encoder.encode(texts), strict=True)
            linter.add(list(numbered))
            linter.mark_validation(range(start, start + len(part)) if aside else ())
            start += len(part)
        return {finding.kind: finding for finding in linter.findings()}

    return found


def test_leaked_validation_row_is_counted_once(tokenizer: Tokenizer) -> None:
    """It may be like any number of training rows."""
    text = " ".join(PLACES * 2 + NOUNS * 2)
    rows = [
        Conversation((Message("user", "?"), Message("assistant", text + end)), "a")
        for end in ("", " a", " b")
    ]
    encoder, linter = RowEncoder(tokenizer, "assistant"), Linter(tokenizer, Limit(512))
    linter.add([(n, row, *encoder.encode(encoder.render(row))) for n, row in enumerate(rows)])
    linter.mark_validation([0])
    (finding,) = linter.findings()
    assert (finding.kind, finding.count, finding.of, finding.rows) == ("near-overlap", 1, 1, (0,))


def test_good_rows_have_no_findings(check: Check) -> None:
    assert check(good(90), good(100)[90:]) == {}


def test_cut_answers_name_sufficient_length(check: Check) -> None:
    rows = good(100)
    rows[7] = chat("Say it.", "tea " * 200)
    finding = check(rows, limit=256)["truncated"]
    assert (finding.count, finding.rows, finding.severity) == (1, (7,), "warning")
    assert "1 row has an answer cut at model.max_seq_length 256" in finding.message
    assert "trained tokens are lost" in finding.message


def test_answer_beyond_length_limit_trains_nothing(check: Check) -> None:
    rows = [*good(20), chat("soup " * 100, "yes")]
    finding = check(rows, limit=128)["untrained"]
    assert (finding.rows, finding.severity) == ((20,), "error")


def test_template_leaving_calls_open_is_error(tiny_model: Path, tmp_path: Path) -> None:
    template = tmp_path / "open.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}<|im_end|>{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    tokenizer = Tokenizer.load(tiny_model, str(template))
    encoder, linter = RowEncoder(tokenizer, "assistant"), Linter(tokenizer, Limit(512))
    calls = [{"type": "function", "function": {"name": noun, "arguments": {"of": noun}}} for noun in NOUNS]
    rows = [
        Conversation((Message("user", "What?"), Message("assistant", "", more={"tool_calls": [call]})), "a:1")
        for call in calls
    ]
    linter.add([(n, row, *encoder.encode(encoder.render(row))) for n, row in enumerate(rows)])
    found = {finding.kind: finding for finding in linter.findings()}
    assert (found["no-end"].count, found["no-end"].severity) == (10, "error")


def test_row_of_several_examples_counts_once(tokenizer: Tokenizer) -> None:
    row = Conversation((Message("user", "tea?"), Message("assistant", "soup")), "a:1")
    encoder, linter = RowEncoder(tokenizer, "assistant"), Linter(tokenizer, Limit(2))
    (example,) = encoder.encode(encoder.render(row))
    linter.add([(0, row, example), (0, row, example), (1, row, example)])
    found = {finding.kind: finding for finding in linter.findings()}
    assert (found["untrained"].count, found["untrained"].rows, linter.count) == (2, (0, 1), 2)


def test_exact_and_near_copies_are_found(check: Check) -> None:
    rows = good(60)
    near = json.loads(json.dumps(rows[5]).replace("ticket", "voucher"))
    longer = chat("Tell of the harbour.", " ".join(PLACES * 2 + NOUNS * 2))
    almost = chat("Tell of the harbour.", " ".join(PLACES * 2 + NOUNS * 2) + " too")
    found = check([*rows, rows[3], longer, almost, near])
    assert found["duplicate"].rows == (60,)
    assert 62 in found["near-duplicate"].rows
    assert 60 not in found["near-duplicate"].rows


def test_validation_rows_near_training_rows_are_found(check: Check) -> None:
    """They are found wherever they stand."""
    long = " ".join(PLACES * 2 + NOUNS * 2)
    row, near = chat("Tell of the harbour.", long), chat("Tell of the harbour.", f"{long} too")
    behind = check([*good(60), row], [*good(80)[70:], near])
    assert (behind["near-overlap"].rows, behind["near-overlap"].of) == ((71,), 11)
    assert "near-duplicate" not in behind
    before = check([*good(60), row], [near], held_first=True)["near-overlap"]
    assert before.rows == (0,)
    assert "1 row of the validation set is nearly the same as a training row" in before.message
    assert {"overlap"} == set(check([*good(60), row], [row]))


def test_many_leaked_validation_rows_are_error(check: Check) -> None:
    rows = good(100)
    few = check(rows, [*good(140)[110:], rows[4]])["overlap"]
    assert (few.count, few.of, few.severity, few.rows) == (1, 31, "warning", (130,))
    assert check(rows, rows[:10])["overlap"].severity == "error"


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (("assistant", "user", "assistant"), "begins with assistant"),
        (("user", "user", "assistant"), "has two questions in a row"),
        (("user", "assistant", "user"), "ends without an answer"),
        (("user", "system", "assistant"), "has a system message in the middle"),
        (("system", "assistant"), "answers without a question"),
    ],
)
def test_turns_out_of_order_are_found(check: Check, roles: tuple[str, ...], said: str) -> None:
    broken = {"messages": [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]}
    finding = check([*good(20), broken])["roles"]
    assert said in finding.message
    assert finding.rows == (20,)


def test_control_tokens_in_text_are_found(check: Check) -> None:
    finding = check([*good(20), chat("Ignore that. <|im_end|>", "No.")])["special-tokens"]
    assert "<|im_end|>" in finding.message
    assert finding.rows == (20,)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "text", ["déjà vu", "“quoted” text", "naïve — yes", "price: 5 €", "ok 👍", "À la carte"]
)
def test_text_in_wrong_encoding_is_found(text: str, encoding: str) -> None:
    assert damage(text.encode().decode(encoding, "replace"))
    assert not damage(text)


@pytest.mark.parametrize(
    "text", ["CAFÉ", "São Paulo", "ÂNGELA", "«Été»", "Ça va très bien", "größer", "日本語", "привет"]
)
def test_foreign_language_text_is_not_damaged(text: str) -> None:
    assert not damage(text)


def test_few_rows_in_another_script_are_found(check: Check) -> None:
    finding = check([*good(99), chat("What?", "Это совсем другой ответ про чай и хлеб.")])["script"]
    assert (finding.rows, finding.severity) == ((99,), "note")
    assert "Cyrillic" in finding.message
    assert script("東京は日本の首都です") == "Japanese"
    assert script("A text with one の in it") == "Latin"


def test_longest_matching_control_token_is_named() -> None:
    pattern = control_tokens(["<|x", "<|x|>", "ab", "[]", "word"])
    assert pattern is not None
    assert [found[0] for found in pattern.finditer("<|x|> <|x ab [] word")] == ["<|x|>", "<|x"]
    assert control_tokens(["word"]) is None


def test_document_among_short_rows_is_extreme(check: Check) -> None:
    rows = good(99)
    rows[50] = chat("All of it.", " ".join(f"{word} {n}" for n in range(40) for word in NOUNS[:4]))
    finding = check(rows, limit=8192)["length"]
    assert (finding.rows, finding.severity) == ((50,), "note")


def test_repeated_answer_is_found(check: Check) -> None:
    """One answer to nearly everything."""
    rows = [chat(row["messages"][0]["content"], "yes" if n % 10 else "no") for n, row in enumerate(good(100))]
    finding = check(rows)["one-sided"]
    assert "90% of the answers are 'yes'" in finding.message


def test_rows_of_one_length_have_no_extremes(check: Check) -> None:
    """Short answers are not compared."""
    rows = [chat(f"{n}?", "odd" if n % 2 else "even") for n in range(100)]
    assert check(rows) == {}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=200), max_size=8), st.integers(0, 3))
def test_equal_texts_are_found_among_any(texts: list[str], place: int) -> None:
    words = " ".join(NOUNS)
    likeness = Likeness()
    likeness.add(enumerate([words, *texts]))
    likeness.add([(100 + place, words.upper() + ".")])
    assert (100 + place, 0) in list(zip(*likeness.pairs(), strict=True))


def test_near_copy_of_long_document_is_found() -> None:
    """The order of the documents does not matter."""
    pages = [" ".join(f"word{n * page}" for n in range(9_000)) for page in (1, 2, 3)]
    for places in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        likeness = Likeness()
        likeness.add(enumerate(pages[place] for place in places))
        likeness.add([(3, "too short"), (4, pages[0] + " and the end")])
        later, earlier = likeness.pairs()
        assert (later.tolist(), earlier.tolist()) == ([4], [places.index(0)])


@pytest.mark.parametrize("length", [21, 500])
def test_no_near_copy_of_row_is_missed(length: int) -> None:
    """Of pairs of 21 words, one in a hundred was."""
    draw = random.Random(0)
    likeness, header = (
        Likeness(),
        ["the", "same", "four", "words", "begin", "every", "page", "of", "this", "site"],
    )
    for pair in range(0, 1500, 2):
        words = [f"word{draw.randrange(5_000)}" for _ in range(length)]
        part = length // 20  # a row of 19 shingles shares 18 with the changed one, which has 19 too
        near = words[:-part] + [f"word{draw.randrange(5_000)}" for _ in range(part)]
        apart = words[: length // 2] + [f"word{draw.randrange(5_000)}" for _ in range(length - length // 2)]
        whole = [words, near if pair % 4 else [*header, *apart]]
        likeness.add((pair + side, " ".join(text)) for side, text in enumerate(whole))
    later, earlier = likeness.pairs()
    wanted = [pair for pair in range(0, 1500, 2) if pair % 4]
    assert earlier.tolist() == wanted
    assert later.tolist() == [pair + 1 for pair in wanted]


SEVERITIES: dict[Kind, tuple[float | None, float]] = {
    # from which share of the rows a finding is an error, and a warning, as docs/data.md says it
    "unreadable": (0.5, 0.1),
    "unusable": (0.5, 0.1),
    "untrained": (0.01, 0.0),
    "no-end": (0.5, 0.0),
    "not-shown": (None, 0.0),
    "truncated": (0.5, 0.01),
    "overlap": (0.2, 0.0),
    "augmented": (0.2, 0.0),
    "roles": (0.5, 0.0),
    "encoding": (0.2, 0.0),
    "special-tokens": (0.1, 0.0),
    "placeholder": (None, 0.01),
    "rendered": (None, 0.0),
    "duplicate": (None, 0.01),
    "near-duplicate": (None, 0.05),
    "near-overlap": (None, 0.05),
    "one-sided": (None, 0.0),
    "swapped": (None, 0.01),
    "prompts-differ": (None, 0.05),
    "length-bias": (None, 0.0),
    "one-label": (None, 0.0),
    "few-labels": (None, 0.0),
    "length": (None, 2.0),
    "script": (None, 2.0),
    "language": (None, 2.0),
}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_severity_of_finding_is_as_documented(kind: Kind) -> None:
    error, warning = SEVERITIES[kind]
    seen = [RULES[kind].severity(count, 1000) for count in range(1, 1001)]
    expected = [
        "error" if error and count >= error * 1000 else "warning" if count >= warning * 1000 else "note"
        for count in range(1, 1001)
    ]
    assert seen == expected
    assert "error" not in {RULES[kind].severity(count, 9) for count in range(1, 10)}
    assert RULES[kind].severity(10, 10) == expected[-1]


def labels(*answers: str) -> tuple[str, float] | None:
    """The answer that most of these rows have and its share, if they are a one-sided classification."""
    found = Labels()
    for answer in answers:
        found.add(answer)
    return found.one_sided()


def test_short_answers_of_few_kinds_are_classification() -> None:
    """There have to be enough rows."""
    others = [f"label {number}" for number in range(10)]
    assert labels(*["yes"] * 40, *others) == ("yes", 0.8)
    assert labels(*["yes"] * 39, *others, "label 0") is None
    assert labels(*["yes"] * 39, *others) is None, "too few rows"
    assert labels(*["yes "] * 20, *["yes"] * 30) == ("yes", 1.0)
    assert labels(*["y" * 40] * 50) == ("y" * 40, 1.0)
    assert labels(*["y" * 41] * 50) is None, "no name of a class"
    many = [f"label {number}" for number in range(MOST_LABELS - 1)]
    assert labels(*["yes"] * 900, *many) is not None
    assert labels(*["yes"] * 900, *many, "another") is None
    assert labels(*many, "another", "more", *["yes"] * 900) is None


def test_script_finding_needs_nearly_uniform_rows() -> None:
    """Another script stands out where nearly all rows have one."""
    assert foreign(Counter(Latin=95, Greek=5)) == ("Latin", {"Greek"})
    assert foreign(Counter(Latin=94, Greek=6)) is None
    assert foreign(Counter(Latin=FEWEST_ROWS - 1, Greek=1)) == ("Latin", {"Greek"})
    assert foreign(Counter(Latin=FEWEST_ROWS - 2, Greek=1)) is None
    assert foreign(Counter(Latin=100)) is None


def test_extreme_length_exceeds_fence_and_median() -> None:
    """Beyond the fence and four times the median."""
    same = [100] * FEWEST_ROWS
    assert extremes(np.array([*same, 399])).tolist() == []
    assert extremes(np.array([401, *same, 900])).tolist() == [FEWEST_ROWS + 1, 0]
    assert extremes(np.array([*same[2:], 900])).tolist() == [], "too few rows"
    spread = [10 * 2**n for n in range(6)] * 10
    assert extremes(np.array([*spread, 3000])).tolist() == []
    assert extremes(np.array([*spread, 300_000])).tolist() == [60]
