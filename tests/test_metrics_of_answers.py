"""Metrics of answers: values against the libraries' own, every script, and rows that lack what a metric takes."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from engine.errors import ConfigError
from engine.metrics import registry
from engine.metrics.base import Lacking, Results, score
from engine.metrics.json_answers import NOTHING, parsed
from engine.metrics.labels import closed_set, label_of
from engine.metrics.tool_calls import calls_in
from engine.metrics.words import words

ENGLISH = [
    "the cat sat on the mat",
    "it rains today in the north of the town",
    "a dog",
    "no one came here at all",
]
ANSWERS = ["the cat sat on a mat", "it rains in the north of town today", "the dog", ""]


def value(name: str, answers: Sequence[str], references: Sequence[str], **more: Any) -> float:
    compute = registry.load(name).compute
    assert compute is not None
    return compute(Results(answers=answers, references=references, **more))


def details(name: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    made = registry.load(name).details
    assert made is not None
    return dict(made(Results(answers=answers, references=references)))


def test_bleu_and_chrf_are_sacrebleus_own() -> None:
    assert value("bleu", ANSWERS, ENGLISH) == pytest.approx(BLEU().corpus_score(ANSWERS, [ENGLISH]).score)
    assert value("chrf", ANSWERS, ENGLISH) == pytest.approx(CHRF().corpus_score(ANSWERS, [ENGLISH]).score)
    assert details("bleu", ANSWERS, ENGLISH)["signature"].startswith(
        "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"
    )
    assert details("chrf", ANSWERS, ENGLISH)["signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")


def test_bleu_of_short_answers_is_not_zero() -> None:
    """Order 4 has nothing to count where no answer has four words; the signature says so."""
    assert BLEU().corpus_score(["a dog"], [["a dog"]]).score == 0
    assert value("bleu", ["a dog"], ["a dog"]) == pytest.approx(100)
    assert "eff:yes" in details("bleu", ["a dog"], ["a dog"])["signature"]


def test_bleu_counts_characters_of_scripts_without_spaces() -> None:
    reference = "東京は日本の首都であり、最大の都市です。"
    assert value("bleu", [reference], [reference]) == pytest.approx(100)
    assert value("bleu", ["東京は日本の首都であり、小さい町です。"], [reference]) > 20
    assert "tok:char" in details("bleu", [reference], [reference])["signature"]


@given(
    st.lists(st.sampled_from(["the", "cat", "Sat,", "on_a", "mat's", "12", "3.5"]), min_size=1, max_size=9),
    st.randoms(),
)
def test_rouge_of_english_is_that_of_rouge_score(said: list[str], drawn: random.Random) -> None:
    reference = drawn.sample(said, len(said))
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(" ".join(reference), " ".join(said))
    for name, kind in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        ours = value(name, [" ".join(said)], [" ".join(reference)])
        assert ours == pytest.approx(theirs[kind].fmeasure)


@pytest.mark.parametrize(
    "text",
    [
        "東京は日本の首都です。", "서울은 한국의 수도이다.", "Москва — столица России.", "الرياض عاصمة السعودية",
        "हिन्दी में लिखा है", "กรุงเทพเป็นเมืองหลวง", "Müller heißt er.", "中国的首都是北京",
    ],
)  # fmt: skip
def test_rouge_knows_every_script(text: str) -> None:
    assert value("rouge_l", [text], [text]) == 1
    assert value("rouge_1", ["2024"], [f"{text} 2024"]) < 0.7, "a number in common is not all there is"


def test_words_keep_their_marks() -> None:
    assert words("हिन्दी में, तमिल!") == ("हिन्दी", "में", "तमिल")
    assert words("Don't_stop 2024年") == ("don", "t", "stop", "2024", "年")


def test_json_is_strict_and_compared_by_field() -> None:
    references = ['{"a": 1, "b": {"c": [1, 2]}}'] * 4
    answers = ['{"a": 1, "b": {"c": [1, 2]}}', '{"a": 1.0, "b": {"c": [1]}}', "Sure: {}", '{"a": true}']
    assert value("json_valid", answers, references) == 0.75
    assert value("json_fields", answers, references) == pytest.approx((1 + 2 / 3 + 0 + 0) / 4)
    assert parsed('{"a": NaN}') is NOTHING
    assert parsed("[" * 100_000) is NOTHING


@pytest.mark.parametrize("name", ["json_valid", "json_fields", "tool_name", "tool_calls", "accuracy", "f1"])
def test_metric_that_rows_lack_is_said_and_not_zero(name: str) -> None:
    found = score([registry.load(name)], Results(answers=ANSWERS, references=ENGLISH))
    assert found.values == {}
    assert found.lacking[name]


def test_metric_counts_only_rows_that_have_what_it_takes() -> None:
    assert value("json_valid", ["{}", "no"], ['{"a": 1}', "words"]) == 1
    assert value("exact_match", ["yes", "x"], ["yes", ""], calls=[(), ({"function": {}},)]) == 1


def test_labels_give_accuracy_and_scores_per_class() -> None:
    references = ["positive"] * 6 + ["negative"] * 3
    answers = [
        "Positive.",
        "positive",
        "positive",
        "positive",
        "negative",
        "maybe",
        "negative",
        "positive",
        " NEGATIVE ",
    ]
    assert value("accuracy", answers, references) == pytest.approx(6 / 9)
    assert value("precision", answers, references) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert value("recall", answers, references) == pytest.approx((4 / 6 + 2 / 3) / 2)
    assert value("f1", answers, references) == pytest.approx((8 / 11 + 2 / 3) / 2)
    found = details("f1", answers, references)
    assert found["classes"]["positive"] == pytest.approx(
        {"precision": 0.8, "recall": 4 / 6, "f1": 8 / 11, "rows": 6}
    )
    assert found["answers that are no label"] == 1
    assert found["accuracy of the commonest label"] == pytest.approx(6 / 9)


def test_free_text_is_no_set_of_labels() -> None:
    assert closed_set(["yes", "no"] * 3) == ("no", "yes")
    assert closed_set([f"answer {n}" for n in range(50)]) == ()
    assert closed_set(["same"] * 50) == (), "one label cannot be told from another"
    assert label_of(" «Да»! ") == "да"


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome", "days": 2}}}
WRITTEN = {
    "Hermes": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>',
    "Mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome", "days": 2}}]',
    "Llama 3": '{"name": "weather", "parameters": {"days": 2.0, "city": "Rome"}}',
    "OpenAI": json.dumps([{"function": {"name": "weather", "arguments": '{"city": "Rome", "days": 2}'}}]),
    "text around it": 'I look: {not json} {"name": "weather", "arguments": {"city": "Rome", "days": 2}} so.',
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_call_of_a_tool_is_read_as_models_write_it(kind: str) -> None:
    assert value("tool_calls", [WRITTEN[kind]], [""], calls=[[CALL]]) == 1


def test_wrong_arguments_and_no_call_are_wrong() -> None:
    answers = [
        WRITTEN["Hermes"].replace("Rome", "Oslo"),
        "It is warm.",
        WRITTEN["Hermes"] * 2,
        '{"name": "Ann"',
    ]
    calls: list[list[dict[str, Any]]] = [[CALL]] * 4
    assert value("tool_name", answers, [""] * 4, calls=calls) == 0.25
    assert value("tool_calls", answers, [""] * 4, calls=calls) == 0
    assert calls_in('{"name": "Ann", "age": 3}') == [], "an object with a name is not a call"
    with pytest.raises(Lacking):
        value("tool_calls", ["x"], ["x"], calls=[()])


def test_looping_answer_is_repetition() -> None:
    assert value("repetition", ["on and on and on and on and on and on"], [""]) > 0.7
    assert value("repetition", ["each of these words stands here once", "a"], ["", ""]) == 0
    assert value("answer_length", ["four", "sixsix"], ["", ""]) == 5


def test_metric_of_a_python_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def score(answer, reference):\n    return len(answer) / len(reference)\n")
    metric = registry.load(str(mine))
    assert (metric.name, metric.better) == ("mine", "higher")
    assert metric.compute is not None
    assert metric.compute(Results(answers=["ab", "abcd"], references=["abcd", "abcd"])) == 0.75
    mine.write_text(
        "from engine.metrics.base import Metric\n"
        "METRIC = Metric('least', needs=frozenset({'log_probabilities'}), compute=lambda r: min(r.log_probabilities))\n"
    )
    assert registry.load(str(mine)).name == "least"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def score(", "does not run: SyntaxError"),
        ("import nothing_like_it", "does not run: ModuleNotFoundError"),
        ("x = 1", "neither METRIC nor score"),
        ("def score(a, b): return a / b", "failed: TypeError"),
        ("def score(a, b): return None", "failed: TypeError"),
    ],
)
def test_broken_python_file_is_one_clear_message(text: str, told: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(text)
    with pytest.raises(ConfigError) as error:
        registry.load(str(mine)).compute(Results(answers=["a"], references=["b"]))  # type: ignore[misc]
    assert told in error.value.message
    assert "mine.py" in error.value.message
    with pytest.raises(ConfigError, match="no such file"):
        registry.load(str(tmp_path / "other.py"))
