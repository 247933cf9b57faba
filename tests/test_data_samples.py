"""Training methods take their samples whole: pairs with both answers, labelled answers good and bad."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config.schema import TrainConfig
from engine.data import store
from engine.data.cache import TRAIN, Inputs
from engine.data.prepare import prepare, sample
from engine.data.store import Store
from engine.data.token_spec import TokenSpec
from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Examples, Message, Preference
from engine.errors import DataError
from engine.methods import Samples
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
    assert any("1 of them had nothing left to train" in note for note in dataset.notes)
    assert any(
        "1 of them has two answers that are the same once they are cut" in note for note in dataset.notes
    )


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
