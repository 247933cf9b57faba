"""Training methods take their samples whole: pairs with both answers, labelled answers good and bad."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from engine.config.schema import TrainConfig
from engine.data import store
from engine.data.cache import TRAIN, Inputs
from engine.data.findings import Finding
from engine.data.prepare import prepare, sample
from engine.data.preview.previews import Previews
from engine.data.preview.values import View, compared
from engine.data.store import Store
from engine.data.token_spec import TokenSpec
from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Examples, Message, Preference
from engine.errors import ConfigError, DataError
from engine.methods import Samples
from ft.commands.data_shown import row_title, shown_row
from screens.datasets.tokens import side_by_side
from tests.test_data_golden import GOLDEN, shown
from tests.test_data_prepare import chats, write

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def recipe(path: Path, *, limit: int = 2048, template: str = "auto", **data: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "model": {"base": "starter", "max_seq_length": limit, "chat_template": template},
            "data": {"train": str(path), "validation": 0.0, **data},
        }
    )


def taking(samples: Samples, config: TrainConfig) -> TrainConfig:
    """The recipe with a method that takes such samples."""
    method = {"supervised": "sft", "pairs": "simpo", "labelled": "kto"}[samples]
    training = config.training.model_copy(update={"method": method})
    return config.model_copy(update={"training": training})


def pairs(count: int) -> list[dict[str, Any]]:
    """Rows of which no two have a prompt or an answer in common."""
    return [
        {
            "prompt": [{"role": "user", "content": f"Question {number}?"}],
            "chosen": [{"role": "assistant", "content": f"Good {number}."}],
            "rejected": [{"role": "assistant", "content": f"Bad {number}."}],
        }
        for number in range(count)
    ]


def findings(
    model: Path, tmp_path: Path, rows: Sequence[dict[str, Any]], samples: Samples, template: str = "auto"
) -> dict[str, Finding]:
    """Findings of the lint by kind."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = taking(samples, recipe(path, template=template))
    return {one.kind: one for one in prepare(config, model, lint=True).findings}


def test_pairs_that_look_swapped_are_named(tiny_model: Path, tmp_path: Path) -> None:
    rows = pairs(20)
    rows[3]["chosen"] = [{"role": "assistant", "content": "I'm sorry, but I can't help with that."}]
    rows[5]["rejected"] = [{"role": "assistant", "content": "Sorry, I cannot answer."}]
    found = findings(tiny_model, tmp_path, rows, "pairs")["swapped"]
    assert (found.count, found.of, found.severity) == (1, 20, "warning")
    assert found.places[0].endswith("rows.jsonl:4")
    assert "1 pair with a refusal as the chosen answer" in found.message


def test_columns_can_be_turned_as_the_advice_says(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(4)))
    plain, turned = (
        prepare(taking("pairs", recipe(path, **data)), tiny_model).train
        for data in ({}, {"columns": {"chosen": "rejected", "rejected": "chosen"}})
    )
    assert plain[0].input_ids.tolist() == turned[1].input_ids.tolist()
    assert plain[1].input_ids.tolist() == turned[0].input_ids.tolist()


def test_pairs_after_different_turns_are_named(tiny_model: Path, tmp_path: Path) -> None:
    rows = pairs(12)
    first = {"role": "user", "content": "Hello there."}
    rows[2] = {
        "chosen": [
            first,
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "Tea."},
        ],
        "rejected": [
            first,
            {"role": "user", "content": "Who is it?"},
            {"role": "assistant", "content": "Me."},
        ],
    }
    found = findings(tiny_model, tmp_path, rows, "pairs")["prompts-differ"]
    assert (found.count, found.rows) == (1, (2,))
    assert "the first part at turn 2" in found.message


def test_turns_of_the_answers_may_differ(tiny_model: Path, tmp_path: Path) -> None:
    """An agent's calls and their results on the way to an answer are no prompt."""
    rows = pairs(12)
    for side, result in (("chosen", "21 degrees"), ("rejected", "no such town")):
        call = {"type": "function", "function": {"name": "weather", "arguments": {"town": side}}}
        rows[4][side] = [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": result},
            {"role": "assistant", "content": f"It says {result}."},
        ]
    assert "prompts-differ" not in findings(tiny_model, tmp_path, rows, "pairs", "chatml")


@pytest.mark.parametrize(
    ("better", "word"), [("a much longer answer than that", "longer"), ("no", "shorter")]
)
def test_length_that_tells_the_chosen_answer_is_told(
    tiny_model: Path, tmp_path: Path, better: str, word: str
) -> None:
    rows = pairs(60)
    for number, row in enumerate(rows):
        row["chosen"] = [{"role": "assistant", "content": f"{better} {number}"}]
        row["rejected"] = [{"role": "assistant", "content": f"it is the answer {number}"}]
    found = findings(tiny_model, tmp_path, rows, "pairs")["length-bias"]
    assert f"in 100% of the pairs the chosen answer is the {word} one" in found.message
    for row in rows[::2]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    assert "length-bias" not in findings(tiny_model, tmp_path, rows, "pairs")


@pytest.mark.parametrize(("good", "kind"), [(60, "one-label"), (57, "few-labels"), (40, None)])
def test_labels_of_one_kind_are_an_error(
    tiny_model: Path, tmp_path: Path, good: int, kind: str | None
) -> None:
    rows = [
        {"prompt": f"Question {n}?", "completion": f"Answer number {n * n}", "label": n < good}
        for n in range(60)
    ]
    found = findings(tiny_model, tmp_path, rows, "labelled")
    assert {"one-label", "few-labels"} & found.keys() == ({kind} if kind else set())
    if kind == "one-label":
        assert found[kind].severity == "error"
        assert "all 60 answers are labelled good, and none bad" in found[kind].message


def prompts(examples: Examples) -> list[list[int]]:
    """Tokens in front of the first trained one of each example."""
    return [one.input_ids[: int(np.argmax(one.labels >= 0))].tolist() for one in examples]


def assert_whole(examples: Examples) -> None:
    """Each group is a chosen answer and the rejected one to the same prompt, side by side."""
    assert examples.group is not None
    assert examples.sign is not None
    assert examples.group.tolist() == [number // 2 for number in range(len(examples))]
    assert examples.sign.tolist() == [1, -1] * (len(examples) // 2)
    assert examples.group_offsets.tolist() == list(range(0, len(examples) + 1, 2))
    before = prompts(examples)
    assert before[::2] == before[1::2]


def test_answers_of_pair_share_prompt(tiny_model: Path) -> None:
    path = GOLDEN / "preference.jsonl"
    examples = prepare(taking("pairs", recipe(path)), tiny_model).train
    assert_whole(examples)
    tokenizer = Tokenizer.load(tiny_model)
    texts = [shown(example, tokenizer) for example in examples]
    assert texts[:2] == [
        "The capital of France is⟦ Paris.<|im_end|>⟧",
        "The capital of France is⟦ Lyon.<|im_end|>⟧",
    ]
    assert "⟦Cusco.<|im_end|>⟧" in texts[3]
    assert "4<|im_end|>" in texts[7], "an earlier answer is context"
    assert "⟦Because.<|im_end|>⟧" in texts[7]
    assert len(examples) == 2 * len(path.read_text().splitlines())


@pytest.mark.parametrize("file", ["preference", "pairs"])
def test_chosen_answers_match_supervised_training(file: str, tiny_model: Path) -> None:
    config = recipe(GOLDEN / f"{file}.jsonl", template="chatml")
    plain = prepare(config, tiny_model).train
    assert plain.group is plain.sign is None
    both = prepare(taking("pairs", config), tiny_model).train
    for number, example in enumerate(plain):
        assert example.input_ids.tolist() == both[2 * number].input_ids.tolist()
        assert example.labels.tolist() == both[2 * number].labels.tolist()


def test_labelled_answers_are_encoded_with_sign(tiny_model: Path) -> None:
    path = GOLDEN / "kto.jsonl"
    examples = prepare(taking("labelled", recipe(path)), tiny_model).train
    labels = [json.loads(line)["label"] for line in path.read_text().splitlines()]
    assert examples.sign is not None
    assert examples.group is not None
    assert examples.sign.tolist() == [1 if label in (True, 1, "true") else -1 for label in labels]
    assert examples.group.tolist() == list(range(len(labels)))
    assert -1 in examples.sign


def test_pair_gives_two_labelled_answers(tiny_model: Path, tmp_path: Path) -> None:
    examples = prepare(taking("labelled", recipe(write(tmp_path / "a.jsonl", pairs(2)))), tiny_model).train
    assert examples.sign is not None
    assert examples.group is not None
    assert (examples.sign.tolist(), examples.group.tolist()) == ([1, -1, 1, -1], [0, 1, 2, 3])


def test_split_and_weight_keep_pairs_together(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(40))
    config = recipe(path, train=[{"path": str(path), "weight": 2}], validation=0.25)
    dataset = prepare(taking("pairs", config), tiny_model)
    assert dataset.validation is not None
    assert_whole(dataset.train)
    assert_whole(dataset.validation)
    assert (len(dataset.train), len(dataset.validation)) == (2 * 60, 2 * 10)
    ids = {tuple(example.input_ids) for example in dataset.train}
    assert not ids & {tuple(example.input_ids) for example in dataset.validation}


def test_swapped_pairs_stay_on_one_side(tiny_model: Path, tmp_path: Path) -> None:
    rows = [row for row in pairs(20) for _ in range(2)]
    swapped = [
        row if number % 2 else {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
        for number, row in enumerate(rows)
    ]
    config = recipe(write(tmp_path / "a.jsonl", swapped), validation=0.3)
    dataset = prepare(taking("pairs", config), tiny_model)
    assert dataset.validation is not None
    seen = {tuple(example.input_ids) for example in dataset.train}
    assert len(dataset.validation) == 2 * 12
    assert not seen & {tuple(example.input_ids) for example in dataset.validation}


def test_pair_is_cut_or_skipped_whole(tiny_model: Path, tmp_path: Path) -> None:
    long = " ".join(WORDS)
    rows = [
        *(
            {"prompt": f"Say {number}:", "chosen": f" {number}", "rejected": f" not {number}"}
            for number in range(300)
        ),
        {"prompt": "Count:", "chosen": f" {long}", "rejected": " no"},
        {"prompt": f"{long}:", "chosen": " yes", "rejected": " no"},
        {"prompt": "Count:", "chosen": f" {long} up", "rejected": f" {long} down"},
    ]
    dataset = prepare(taking("pairs", recipe(write(tmp_path / "a.jsonl", rows), limit=16)), tiny_model)
    assert_whole(dataset.train)
    assert len(dataset.train) == 2 * 301, (
        "without the prompt that fills the limit, and answers that end alike"
    )
    assert dataset.train.lengths.max() == 16
    assert any("3 of 303 rows are longer" in note for note in dataset.notes)
    assert any("2 of them had nothing left to train" in note for note in dataset.notes)


def test_row_unfit_for_method_is_named(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", chats(2))
    with pytest.raises(
        DataError, match="has one answer, where the method compares a chosen and a rejected one"
    ) as raised:
        prepare(taking("pairs", recipe(path)), tiny_model)
    assert "training.method: sft" in raised.value.hint
    with pytest.raises(DataError, match="has no label") as raised:
        prepare(taking("labelled", recipe(path)), tiny_model)
    assert "training.method: sft" in raised.value.hint
    labelled = write(tmp_path / "l.jsonl", [{"prompt": "a", "completion": "b", "label": True}])
    with pytest.raises(DataError, match="has one answer") as raised:
        prepare(taking("pairs", recipe(labelled)), tiny_model)
    assert "training.method: kto" in raised.value.hint
    same = write(tmp_path / "b.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    with pytest.raises(DataError, match="`chosen` and `rejected` are the same"):
        prepare(taking("pairs", recipe(same)), tiny_model)
    empty = write(tmp_path / "c.jsonl", [{"prompt": "a", "chosen": "b", "rejected": " "}])
    with pytest.raises(DataError, match="`rejected`: nothing to train"):
        prepare(taking("pairs", recipe(empty)), tiny_model)


def test_training_prompts_of_pairs_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train_on: all trains prompts too"):
        prepare(taking("pairs", recipe(GOLDEN / "preference.jsonl", train_on="all")), tiny_model)


def test_prompt_of_pair_is_rendered_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TokenSpec(samples="pairs").encoder(tiny_model)
    asked = (Message("system", "Be brief."), Message("user", "Why?"))
    sides = (Conversation((*asked, Message("assistant", text)), "a:1") for text in ("So.", "No."))
    pair = Preference(*sides)
    encoder.groups(pair)  # what is tried once for a template
    rendered: list[bool] = []
    render = ChatTemplate.render

    def counted(self: ChatTemplate, messages: Any, generation_prompt: bool = False, tools: Any = ()) -> str:
        rendered.append(generation_prompt)
        return render(self, messages, generation_prompt, tools)

    monkeypatch.setattr(ChatTemplate, "render", counted)
    (group,) = encoder.groups(pair)
    assert rendered.count(True) == 1
    assert [text.sign for text in group.texts] == [1, -1]


def test_cache_separates_samples_by_method(tiny_model: Path, tmp_path: Path) -> None:
    """Its samples stay whole."""
    config = recipe(write(tmp_path / "a.jsonl", pairs(6)))
    first = prepare(taking("pairs", config), tiny_model)
    again = prepare(taking("pairs", config), tiny_model)
    assert "12 examples were tokenised by an earlier run" in again.notes
    assert_whole(again.train)
    assert again.fingerprint == first.fingerprint
    assert len(prepare(config, tiny_model).train) == 6
    recipes = (config, taking("pairs", config), taking("labelled", config))
    keys = {Inputs(each, tiny_model, [], False, None).key for each in recipes}
    assert len(keys) == 3


def test_cache_entry_without_signs_is_damaged(tmp_path: Path) -> None:
    made = Store(tmp_path / TRAIN, signed=True)
    made.add([(0, (Encoded([1, 2, 3], ((1, 3),), sign=1), Encoded([1, 2, 4], ((1, 3),), sign=-1)))])
    made.close()
    assert len(store.read(tmp_path / TRAIN, signed=True)) == 2
    (tmp_path / TRAIN / store.SIGN).write_bytes(b"\x01")
    with pytest.raises(ValueError, match="not whole"):
        store.read(tmp_path / TRAIN, signed=True)


def test_plain_examples_store_no_groups(tiny_model: Path, tmp_path: Path) -> None:
    made = Store(tmp_path / TRAIN)
    made.add([(0, (Encoded([1, 2, 3], ((1, 3),)),)), (0, (Encoded([1, 2], ((1, 2),)),))])
    examples = made.close()
    assert sorted(file.name for file in (tmp_path / TRAIN).iterdir()) == [
        store.OFFSETS, store.TOKENS, store.TRAINED
    ]  # fmt: skip
    assert examples.group_offsets.tolist() == [0, 1, 2]


def test_sampled_plan_sees_both_answers(tiny_model: Path, tmp_path: Path) -> None:
    config = recipe(write(tmp_path / "a.jsonl", pairs(30)))
    dataset, count = sample(taking("pairs", config), tiny_model, rows=10)
    assert_whole(dataset.train)
    assert (len(dataset.train), count) == (20, 60)


def test_preview_shows_both_answers(tiny_model: Path, tmp_path: Path) -> None:
    source = str(write(tmp_path / "a.jsonl", pairs(1)))
    view = View(model=str(tiny_model), samples="pairs")
    previews = Previews()
    assert previews.wait_for(source, 0, view)
    (row,) = previews.show(source, [0], view)
    assert row.examples == 2
    text = "".join(piece.text for piece in row.pieces)
    assert "Good 0." in text
    assert "Bad 0." in text
    assert row.sides == ("chosen", "rejected")
    prompt, chosen, rejected = ("".join(piece.text for piece in part) for part in compared(row.pieces))
    assert "Question 0?" in prompt
    assert chosen.startswith("Good 0.")
    assert rejected.startswith("Bad 0.")


def test_preview_shows_the_label(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "Question?", "completion": "Answer.", "label": good} for good in (True, False)]
    source, view = str(write(tmp_path / "a.jsonl", rows)), View(model=str(tiny_model), samples="labelled")
    previews = Previews()
    assert previews.wait_for(source, 1, view)
    good, bad = previews.show(source, [0, 1], view)
    assert (good.sides, bad.sides) == (("good",), ("bad",))
    assert row_title(bad).endswith(", labelled bad")


def test_answers_of_a_pair_stand_side_by_side_where_there_is_room(tiny_model: Path, tmp_path: Path) -> None:
    source, view = str(write(tmp_path / "a.jsonl", pairs(1))), View(model=str(tiny_model), samples="pairs")
    previews = Previews()
    assert previews.wait_for(source, 0, view)
    (row,) = previews.show(source, [0], view)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shown_row(row, parted=False, width=120))
    text = console.export_text()
    (line,) = [line for line in text.splitlines() if "Good 0." in line]
    assert line.index("Bad 0.") > 58
    lines = ["".join(run.text for run in line) for line in side_by_side(row.pieces, row.sides, 80)]
    (line,) = [line for line in lines if "Good 0." in line]
    assert line.index("Bad 0.") > line.index("│") == 39
    assert isinstance(shown_row(row, parted=False), Text)


@pytest.mark.parametrize("spans", [((0, 3),), ((0, 1), (2, 9)), ((5, 7),), ()])
def test_first_and_missing_tokens_are_never_trained(
    spans: tuple[tuple[int, int], ...],
) -> None:
    made = Store()
    made.add([(0, (Encoded([7, 8, 9], spans),)), (1, (Encoded([7, 8], ((0, 2),)),))])
    examples = made.close()
    wanted = [any(start <= place < end for start, end in spans) and place > 0 for place in range(3)]
    assert examples.trained.tolist() == [*wanted, False, True]
    assert not examples.trained[examples.offsets[:-1]].any()
