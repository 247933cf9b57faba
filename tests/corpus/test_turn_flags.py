"""Turns that other tools would not train are not trained here either."""

from typing import Any

import pytest

from engine.errors import DataError
from tests.corpus.reading import ASKED, BAD, GOOD, Reader, chatml


@pytest.mark.parametrize(
    "flag", ["train", "training", "loss", "loss_mask", "weight", "loss_weight", "loss_scale"]
)
@pytest.mark.parametrize("no", [False, 0, 0.0])
def test_untrained_answer_of_other_tool_is_context(flag: str, no: Any, read: Reader) -> None:
    again = {"role": "user", "content": "Really?"}
    yes = type(no)(1)
    found = read([{"messages": [ASKED, {**BAD, flag: no}, again, {**GOOD, flag: yes}]}])
    want = (
        ("user", ASKED["content"]),
        ("assistant", "I hate you."),
        ("user", "Really?"),
        ("assistant", "⟦Lima.⟧"),
    )
    assert found.texts == [chatml(*want)]
    turns = [
        {"from": "human", "value": ASKED["content"]},
        {"from": "gpt", "value": "I hate you.", flag: no},
        {"from": "human", "value": "Really?"},
        {"from": "gpt", "value": "Lima.", flag: None},
    ]
    assert read([{"conversations": turns}]).texts == [chatml(*want)]


def test_wrong_answers_of_axolotl_stay_untrained(read: Reader) -> None:
    for text in read("08_train_flag.jsonl").texts:
        assert "⟦Wrong" not in text
        assert "⟦Sorry, right" in text


def test_fractional_loss_weight_is_refused(read: Reader) -> None:
    with pytest.raises(
        DataError, match=r"`messages\[1\]\.loss_weight` is 0\.5.*cannot train a turn by a fraction"
    ):
        read([{"messages": [ASKED, {**GOOD, "loss_weight": 0.5}]}])
    detail = [{"begin_offset": 0, "end_offset": 2, "train": False}]
    with pytest.raises(DataError, match=r"`messages\[1\]\.train_detail` chooses characters of the answer"):
        read([{"messages": [ASKED, {**GOOD, "train_detail": detail}]}])


def test_unknown_turn_flag_is_named_once(read: Reader) -> None:
    rows = [{"messages": [ASKED, {**GOOD, "is_masked": True, "id": 7, "date": "2026"}]}] * 5
    said = read(rows).said
    assert said.count("5 of 5 rows have `is_masked` on turns, which is not used") == 1
    assert "`id`" not in said


def test_trained_question_is_reported(read: Reader) -> None:
    said = read([{"messages": [{**ASKED, "train": True}, {**GOOD, "train": True}]}]).said
    assert "a turn of user that is to be trained: only the assistant's turns are" in said


def test_empty_middle_answer_is_reported_context(read: Reader) -> None:
    found = read("49_empty_mid.jsonl")
    assert found.texts[0] == chatml(
        ("user", "Q apple?"), ("assistant", ""), ("user", "Hello?"), ("assistant", "⟦A apple.⟧")
    )
    assert "12 of 12 rows have an empty answer, which is not trained" in found.said


def test_empty_answers_in_history_are_context(read: Reader) -> None:
    row = {"instruction": "And?", "output": "Yes.", "history": [["Q?", ""]]}
    want = chatml(("user", "Q?"), ("assistant", ""), ("user", "And?"), ("assistant", "⟦Yes.⟧"))
    assert read([row]).texts == [want]
    answers = {"chosen": "Yes.", "rejected": "No."}
    compared = {"instruction": "And?", "input": "so", "history": [["Q?", "A."]], **answers}
    found = read([compared])
    assert found.texts[0].endswith(
        "<|im_start|>user\nAnd?\n\nso<|im_end|>\n<|im_start|>assistant\n⟦Yes.<|im_end|>⟧\n"
    )
    assert "<|im_start|>assistant\nA.<|im_end|>" in found.texts[0], "what both answers answer is context"
    assert "not use" not in found.said
