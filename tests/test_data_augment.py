"""Rows that a model makes from training rows: its prompts, which answers become rows, and how it resumes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.data.augment.checks import cleaned, loses
from engine.data.augment.journal import NAME as JOURNAL
from engine.data.augment.journal import Journal
from engine.data.augment.make import augment
from engine.data.augment.options import Augmented, Options
from engine.data.rewrite import rewrite
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Completion, Prompt, Row
from engine.errors import ConfigError, DataError
from tests.test_data_lint import chat
from tests.test_data_prepare import recipe, write

Reply = Callable[[str], str]
"""Answer to the text of the last message."""
PARAPHRASE = Options("paraphrase", "starter", "f", tries=1)
BACK = Options("back-translation", "starter", "f", tries=1)
NEW = Options("new-rows", "starter", "f", tries=1)
RIVERS = [
    ("Which river runs through the old town of Vienna today?", "The Danube."),
    ("How long is the river that runs through Paris?", "777 km long."),
    ("Name the river that flows past the port of Hamburg.", "The Elbe."),
    ("Which river carries the most water in the whole of Africa?", "The Congo."),
]


class Model:
    """Answers by a function of the text it is shown last, and remembers all that it was shown."""

    def __init__(self, reply: Reply, ended: bool = True, stop_after: int = 1000) -> None:
        self.reply, self.ended, self.left = reply, ended, stop_after
        self.batches: list[Sequence[Prompt]] = []

    def __call__(self, prompts: Sequence[Prompt]) -> list[Completion]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.batches.append(prompts)
        return [Completion(self.reply(asked(prompt)), self.ended) for prompt in prompts]

    @property
    def shown(self) -> str:
        return "\n".join(m.content for batch in self.batches for prompt in batch for m in prompt.messages)


def asked(prompt: Prompt) -> str:
    """The text below the instruction of a prompt."""
    return prompt.messages[-1].content.partition("\n\n")[2]


def twisted(text: str) -> str:
    """Other words than the question's with everything in it: what a good model would do."""
    return f"Tell me, if you would: {text[0].lower()}{text[1:]} Please and many thanks to you."


@pytest.fixture
def prepared(folder: Path, tiny_model: Path) -> Callable[..., tuple[list[dict[str, Any]], Augmented]]:
    """Prepares rows with some of them made by a model; the made ones, and what has come of it."""

    def prepared(
        rows: Sequence[Any], model: Model, options: Options = PARAPHRASE, validation: float = 0.0
    ) -> tuple[list[dict[str, Any]], Augmented]:
        write(folder / "rows.jsonl", rows)
        found: list[Augmented] = []

        def make(journal: Journal) -> tuple[list[Row], dict[str, Any]]:
            made, report = augment(
                folder / "out", options, Tokenizer.load(tiny_model), model, journal, lambda done, total: None
            )
            found.append(report)
            return made, report.to_json()

        rewrite(recipe("rows.jsonl", validation=validation), folder / "out", make=make)
        return [row for row in written(folder / "out" / "train.jsonl") if "augmented" in row], found[0]

    return prepared


Prepared = Callable[..., tuple[list[dict[str, Any]], Augmented]]


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rivers() -> list[dict[str, Any]]:
    return [chat(*one) for one in RIVERS]


def test_paraphrase_keeps_answer_and_names_source_row(prepared: Prepared, folder: Path) -> None:
    made, report = prepared(rivers(), Model(twisted), replace(PARAPHRASE, seed=7))
    assert [row["messages"][1]["content"] for row in made] == [answer for _, answer in RIVERS]
    assert [row["messages"][0]["content"] for row in made] == [twisted(question) for question, _ in RIVERS]
    assert made[2]["augmented"] == {
        "kind": "paraphrase",
        "from": ["train.jsonl:3"],
        "model": "starter",
        "seed": 7,
    }
    assert written(folder / "out" / "train.jsonl")[:4] == rivers()
    told = json.loads((folder / "out" / "report.json").read_text())
    assert (told["train"], told["augmented"]["made"], report.asked) == (8, 4, 4)


def test_paraphrase_leaves_quoted_text_alone(prepared: Prepared) -> None:
    """Of "Shorten this text: ..." only the request is rewritten, and the model is not shown the text."""
    text = "Shorten this text for me.\n\nThe quick brown fox.\n\nIt jumps."
    (row,), _ = prepared([chat(text, "A fox jumps.")], model := Model(twisted))
    assert row["messages"][0]["content"] == twisted("Shorten this text for me.") + text[25:]
    assert "brown fox" not in model.shown


def test_only_last_question_of_conversation_is_paraphrased(
    prepared: Prepared,
) -> None:
    """Earlier answers are not trained again."""
    turns = [*chat(*RIVERS[0])["messages"], *chat(*RIVERS[1])["messages"]]
    turns.append({"role": "user", "content": "Thanks!"})
    (row,), _ = prepared([{"messages": turns}], Model(twisted))
    assert row["messages"] == [
        turns[0],
        {**turns[1], "weight": 0},
        {"role": "user", "content": twisted(RIVERS[1][0])},
        *turns[3:],
    ]


def test_plain_text_prompt_is_paraphrased(
    prepared: Prepared,
) -> None:
    """Rows without a question are left aside."""
    rows = [{"prompt": question, "completion": answer} for question, answer in RIVERS]
    made, report = prepared([*rows, {"prompt": "", "completion": "Only a text."}], Model(twisted))
    assert [(row["prompt"], row["completion"]) for row in made] == [
        (twisted(row["prompt"]), row["completion"]) for row in rows
    ]
    assert report.aside == 1


def test_held_out_rows_are_never_augmented(prepared: Prepared, folder: Path) -> None:
    """They are shown to no model, and no new row like them is kept."""
    rows = [
        *rivers(),
        *[chat(f"For a quiz at school, and quickly: {question}", answer) for question, answer in RIVERS],
    ]
    prepared(rows, model := Model(twisted), validation=0.5)
    held = [row["messages"][0]["content"] for row in written(folder / "out" / "validation.jsonl")]
    assert len(held) == 4
    questions = [asked(prompt) for batch in model.batches for prompt in batch]
    assert not set(held) & set(questions)
    (folder / "out").rename(folder / "first")
    made, report = prepared(
        rows,
        Model(lambda text: next((one for one in held if one in text or text in one), twisted(text))),
        validation=0.5,
    )
    assert not [row for row in made if row["messages"][0]["content"] in held]
    assert report.rejected["held-out"] >= 1


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ("empty", lambda text: " …\n"),
        ("echo", lambda text: f"Say this in other words, in English. {text}"),
        ("echo", lambda text: "Sure! Which river is it that Vienna has in its old town?"),
        ("echo", lambda text: f"{twisted(text)}<|im_end|>"),
        ("damaged", lambda text: "Which river runs through Vienna’s old townâ€™s middle?"),
        ("language", lambda text: "Какая река течёт через старый город Вены сегодня?"),
        ("language", lambda text: "Какая река?"),
        ("language", lambda text: "Welcher Fluss fließt heute Vienna entlang durch ihre Altstadt?"),
        ("lost", lambda text: "Which river runs through the old town of Prague?"),
        ("lost", lambda text: "Which river runs through that town?"),
        ("form", lambda text: "The river that runs through the old town of Vienna today."),
        ("answered", lambda text: "Does the Danube, which it has, run through the old town of Vienna?"),
        ("length", lambda text: twisted(text) + " I would like to know it in great detail." * 5),
        ("same", lambda text: f'"{text}"'),
        ("same", lambda text: text.replace("today", "Today").replace("?", " !")),
        ("copy", lambda text: "How long is the river that runs through Vienna, Vienna or Paris?"),
    ],
)
def test_answer_without_good_row_is_rejected(prepared: Prepared, reason: str, reply: Reply) -> None:
    """The report counts each by its reason."""
    rows = [chat(RIVERS[0][0], "Vienna has the Danube."), chat("How long is the river that runs through Vienna, "
                                                              "Vienna or Paris?", "777 km.")]  # fmt: skip
    made, report = prepared(rows, Model(lambda text: reply(text) if "old town" in text else twisted(text)))
    assert report.rejected == {reason: 1}
    assert [row["augmented"]["from"] for row in made] == [["train.jsonl:2"]]
    assert report.examples[reason]


def test_endless_answer_is_rejected(prepared: Prepared) -> None:
    made, report = prepared(rivers(), Model(twisted, ended=False))
    assert (made, report.rejected) == ([], {"cut": 4})


def test_paraphrase_keeps_numbers_of_question(prepared: Prepared) -> None:
    rows = [chat("What do 17 and 25 make?", "42"), chat("What do 3 and 4 make?", "7")]
    made, report = prepared(rows, Model(lambda text: twisted(text).replace("17", "71")))
    assert ([row["augmented"]["from"] for row in made], report.rejected) == ([["train.jsonl:2"]], {"lost": 1})


def test_rejected_row_is_retried_with_another_seed(prepared: Prepared) -> None:
    once: set[str] = set()

    def reply(text: str) -> str:
        bad = text not in once
        once.add(text)
        return "" if bad else twisted(text)

    made, report = prepared(rivers(), model := Model(reply), replace(PARAPHRASE, tries=3))
    assert (len(made), report.answers, report.rejected) == (4, 8, {"empty": 4})
    seeds = [prompt.seed for batch in model.batches for prompt in batch]
    assert len(set(seeds)) == 8


def test_amount_above_one_makes_differing_rows(prepared: Prepared) -> None:
    words = iter(["nicely", "quickly", "quickly"])
    made, report = prepared(
        [chat("Sing.", "La la.")], Model(lambda text: f"Sing {next(words)}."), replace(PARAPHRASE, amount=3)
    )
    assert [row["messages"][0]["content"] for row in made] == ["Sing nicely.", "Sing quickly."]
    assert report.asked == 3
    assert sum(report.rejected.values()) == 1


def test_paraphrases_of_row_differ_beyond_one_word(prepared: Prepared) -> None:
    """The text below the question may be of any length."""
    ends = iter(["soon", "today"])
    long = " ".join(f"word{n}" for n in range(300))
    made, report = prepared(
        [chat(f"Make the text much shorter for me that is written below.\n\n{long}", "Words.")],
        Model(
            lambda text: f"Would you make the text that is written below much shorter for me, {next(ends)}"
        ),
        replace(PARAPHRASE, amount=2),
    )
    assert (len(made), report.rejected) == (1, {"same": 1})


@pytest.mark.parametrize(("validation", "reason"), [(0.0, "copy"), (0.5, "held-out")])
def test_near_copy_of_row_is_rejected(prepared: Prepared, validation: float, reason: str) -> None:
    long = [
        f"{start}, please: how long is the river which runs through the old town, and where does it meet the sea?"
        for start in (
            "Say for school, where it is on the board and nobody has yet found it out by himself",
            "A child wants it in a few plain words which anybody can understand",
        )
    ]
    rows = [chat(question, "777 km, in the west.") for question in long]
    _, report = prepared(
        rows, Model(lambda text: long[text == long[0]].replace("sea?", "lake?")), validation=validation
    )
    assert report.rejected == {reason: report.asked}


def test_seed_draws_share_of_rows(prepared: Prepared, folder: Path) -> None:
    drawn = []
    for seed in (1, 1, 2, 3, 4):
        made, _ = prepared(rivers(), Model(twisted), replace(PARAPHRASE, amount=0.5, seed=seed))
        drawn.append([row["augmented"]["from"][0] for row in made])
        (folder / "out").rename(folder / f"out{len(drawn)}")
    assert [len(lines) for lines in drawn] == [2] * 5
    assert drawn[0] == drawn[1]
    assert len({tuple(lines) for lines in drawn}) > 1


def test_back_translation_goes_there_and_back(prepared: Prepared) -> None:
    def reply(text: str) -> str:
        if "river" in text:
            return "Sag mir bitte welcher Fluss das ist, " + text.split()[-1]
        return "Please tell which river that is by Vienna, Paris, Hamburg or Africa: " + text.split()[-1]

    model = Model(reply)
    made, report = prepared(rivers()[:1], model, replace(BACK, through="Dutch"))
    assert "into Dutch" in model.batches[0][0].messages[-1].content
    assert "into English" in model.batches[1][0].messages[-1].content
    assert asked(model.batches[1][0]) == "Sag mir bitte welcher Fluss das ist, today?"
    assert made[0]["messages"][0]["content"].startswith("Please tell which river")
    assert report.answers == 2


def test_untranslated_answer_is_not_translated_back(prepared: Prepared) -> None:
    made, report = prepared(rivers(), model := Model(twisted), BACK)
    assert (made, report.rejected, len(model.batches)) == ([], {"untranslated": 4}, 1)


def test_new_rows_follow_examples_and_system_message(prepared: Prepared) -> None:
    rows = [{"messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]} for row in rivers()]
    names = iter(range(100))

    def reply(text: str) -> str:
        return (
            f"1. Which lake number {next(names)} is the river's?" if "1. " in text else "The Danube's lake."
        )

    made, report = prepared(rows, model := Model(reply), replace(NEW, amount=0.5))
    assert report.asked == len(made) == 2
    assert [m["role"] for m in made[0]["messages"]] == ["system", "user", "assistant"]
    assert {row["messages"][1]["content"] for row in made} == {
        f"Which lake number {number} is the river's?" for number in (0, 1)
    }
    assert made[0]["messages"][2]["content"] == "The Danube's lake."
    assert len(made[0]["augmented"]["from"]) == 3
    shown = model.batches[1][0].messages
    assert [message.role for message in shown] == ["system", *["user", "assistant"] * 3, "user"]
    assert shown[-1].content.startswith("Which lake number")


def test_new_row_already_present_is_rejected(prepared: Prepared) -> None:
    def reply(text: str) -> str:
        return "Which river is the longest in Asia?" if "1. " in text else "The Yangtze."

    made, report = prepared(rivers(), Model(reply), NEW)
    assert (len(made), report.rejected) == (1, {"copy": 3})
    assert len(made[0]["messages"]) == 2


def test_new_row_extending_an_example_is_rejected(prepared: Prepared) -> None:
    def reply(text: str) -> str:
        return f"{RIVERS[0][0]} Choose: A, B or C?" if "1. " in text else "B."

    _, report = prepared(rivers()[:3], Model(reply), NEW)
    assert report.rejected == {"same": 3}


def test_new_rows_need_enough_example_rows(prepared: Prepared, folder: Path) -> None:
    with pytest.raises(DataError, match="there are 2"):
        prepared(rivers()[:2], Model(twisted), NEW)
    assert list((folder / "out").iterdir()) == []


def test_stopped_augmentation_resumes_with_same_rows(prepared: Prepared, folder: Path) -> None:
    """Prompts answered before the stop are not sent again."""
    rows = [chat(f"Which river has number {n} in the atlas?", f"River {n}.") for n in range(40)]
    whole, _ = prepared(rows, Model(twisted), validation=0.1)
    (folder / "out").rename(folder / "whole")
    with pytest.raises(KeyboardInterrupt):
        prepared(rows, Model(twisted, stop_after=1), validation=0.1)
    journal = folder / "out" / JOURNAL
    with journal.open("a") as file:
        file.write('[[[0, 0, 39], "torn')
    assert not (folder / "out" / "report.json").exists()
    with pytest.raises(KeyboardInterrupt):
        prepared(rows, Model(twisted, stop_after=1), validation=0.1)
    made, _ = prepared(rows, rest := Model(twisted), validation=0.1)
    assert sum(len(batch) for batch in rest.batches) == 36 - 2 * 16
    assert made == whole
    for name in ("train.jsonl", "validation.jsonl", "report.json"):
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert not journal.exists()


def test_augmentation_does_not_resume_with_other_options(prepared: Prepared, folder: Path) -> None:
    rows = [chat(f"Which river has number {n} in the atlas?", f"River {n}.") for n in range(20)]
    with pytest.raises(KeyboardInterrupt):
        prepared(rows, Model(twisted, stop_after=1))
    with pytest.raises(ConfigError, match="with other options"):
        prepared(rows, Model(twisted), replace(PARAPHRASE, temperature=0.1))
    with pytest.raises(ConfigError, match="out is there already"):
        rewrite(recipe("rows.jsonl"), folder / "out")
    prepared(rows, Model(twisted))


def test_failure_before_first_answer_leaves_no_folder(prepared: Prepared, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepared(rivers(), Model(twisted, stop_after=0))
    prepared(rivers(), Model(twisted), replace(PARAPHRASE, temperature=0.1))


def test_folder_with_users_rows_is_not_overwritten(prepared: Prepared, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "train.jsonl").write_text("mine\n")
    with pytest.raises(ConfigError, match="out is there already"):
        prepared(rivers(), Model(twisted))
    assert (folder / "out" / "train.jsonl").read_text() == "mine\n"
    assert not (folder / "out" / JOURNAL).exists()


def test_augmented_rows_are_not_augmented_again(prepared: Prepared, folder: Path) -> None:
    """They keep their mark."""
    made, _ = prepared(rivers(), Model(twisted))
    again = written(folder / "out" / "train.jsonl")
    (folder / "out").rename(folder / "first")
    more, report = prepared(again, model := Model(lambda text: twisted(text).replace("thanks", "a thank")))
    assert written(folder / "out" / "train.jsonl")[:8] == again
    assert (len(more), report.aside) == (8, 4)
    assert "many thanks" not in model.shown.partition("\n")[2]
    assert {json.dumps(row) for row in made} < {json.dumps(row) for row in more}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('"Which one?"', "Which one?"),
        ("Rewritten: Which one?", "Which one?"),
        ("**Translation:** Which one?", "Which one?"),
        ("4. Which one?\n5. Which other?", "Which one?"),
        ('"This" or "that"', '"This" or "that"'),
        ("Rewritten words are others", "Rewritten words are others"),
    ],
)
def test_wrapping_around_model_answer_is_removed(said: str, kept: str) -> None:
    assert cleaned(said, "Which?") == kept


@pytest.mark.parametrize(
    ("text", "answer", "lost"),
    [
        ("Two mochas for Olga and a tea for Ada Smith at 9:30.", "Olga", False),
        ("A tea for Ada Smith at 9:30, two mochas for her.", "Olga", True),  # the answer needs the name
        ("A tea for Ada Smith at 9:30, two mochas for her.", "Done.", False),
        ("A tea for Ada at 9:30, two mochas for her.", "Done.", True),  # most names are gone
        ("Two mochas for Olga and a tea for Ada Smith at 9:45.", "Done.", True),
    ],
)
def test_paraphrase_keeps_names_and_numbers(text: str, answer: str, lost: bool) -> None:
    assert loses(text, "Take two mochas for Olga, and a tea for Ada Smith, at 9:30.", answer) == lost
