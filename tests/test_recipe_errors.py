"""Bad recipes: each is one clear message with the place, the rule and what was probably meant."""

from pathlib import Path

import pytest
import yaml

from engine.config import yaml_reader
from engine.config.load import load_recipe, load_text
from engine.config.problems import RecipeError
from engine.errors import ConfigError, MachineError

GOOD = "model: {base: starter}\ndata: {train: starter}\n"
"""Two lines that are a whole recipe; what is added starts at line 3."""


def message_of(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(text, Path("train.yml"), overrides)
    return caught.value.message


TEXTS = {
    "an empty file": ("", "1:1", "the recipe is empty"),
    "only comments": ("# nothing\n# here\n", "1:1", "the recipe is empty"),
    "a list": ("- a\n- b\n", "1:1", "a recipe is a mapping of keys"),
    "one word": ("hello", "1:1", "a recipe is a mapping of keys"),
    "a number": ("42", "1:1", "a recipe is a mapping of keys"),
    "two documents": (GOOD + "---\nseed: 1\n", "3:1", "a second document starts here"),
    "a tab": (GOOD + "training:\n\tepochs: 1\n", "4:1", "a tab is used to indent"),
    "an open quote": (GOOD + "name: 'x\n", "3:7", "this quote is not closed"),
    "an open bracket": (GOOD + "evaluation: {samples: [a, b}\n", "3:23", "this bracket is not closed"),
    "an @ without quotes": (GOOD + "name: @x\n", "3:7", "text that starts with @ has to be in quotes"),
    "a colon in text": (GOOD + "name: a: b\n", "3:8", "two `: ` on one line"),
    "a line without a colon": (GOOD + "name\nseed: 1\n", "4:1", "has no `: ` after its key"),
    "no key": (GOOD + ": 1\n", "3:1", "indented differently from the keys beside it, or has no key"),
    "a wrong indent": ("model:\n    base: x\n  revision: y\n", "3:3", "indented differently"),
    "a list as key": (GOOD + "? [a]\n: 1\n", "3:3", "a key has to be one word"),
    "a NUL": (GOOD + "name: a\0b\n", "3:8", "character U+0000 does not belong"),
    "a python tag": (
        GOOD + "name: !!python/object/apply:os.system [ls]\n",
        "3:7",
        "tag !!python/object/apply:os",
    ),
    "a custom tag": (GOOD + "name: !env HOME\n", "3:7", "tag !env is not read here"),
    "a merge key": ("model: &m {base: x}\ndata: {<<: *m, train: x}\n", "2:8", "merge keys (<<)"),
    "an alias of itself": (GOOD + "evaluation: {samples: &a [*a]}\n", "3:27", "alias *a refers to itself"),
    "an unknown alias": (GOOD + "name: *x\n", "3:7", "alias *x has no anchor before it"),
    "51 levels": ("a: " + "[" * 51, "1:53", "nested more than 50 levels deep"),
    "a duplicate key": (GOOD + "seed: 1\nseed: 2\n", "4:1", "seed is given twice; the first is on line 3"),
    "a duplicate section": (
        GOOD + "data: {train: x}\n",
        "3:1",
        "data is given twice; the first is on line 2",
    ),
    "no model": ("data: {train: x}\n", "1:1", "model.base is missing"),
    "no base": ("seed: 1\nmodel: {revision: x}\ndata: {train: x}\n", "2:1", "model.base is missing"),
    "no train": ("model: {base: x}\ndata:\n", "2:1", "data.train is missing"),
    "a source without a path": (
        GOOD[:22] + "\ndata: {train: {format: chat}}\n",
        "2:8",
        "data.train.path is missing",
    ),
    "a typo": (GOOD + "training:\n  lerning_rate: 1e-4\n", "4:3", "did you mean learning_rate?"),
    "a dash for an underscore": (GOOD + "training: {learning-rate: 1e-4}\n", "3:12", "mean learning_rate?"),
    "a section's typo": (GOOD + "trainning: {epochs: 1}\n", "3:1", "did you mean training?"),
    "a key without its section": (GOOD + "epochs: 1\n", "3:1", "did you mean training.epochs?"),
    "a key of another section": (GOOD + "training: {rank: 8}\n", "3:12", "did you mean adapter.rank?"),
    "another trainer's key": (GOOD + "training: {lora_r: 8}\n", "3:12", "did you mean adapter.rank?"),
    "lr": (GOOD + "training: {lr: 1e-4}\n", "3:12", "did you mean training.learning_rate?"),
    "a key like no other": (
        GOOD + "training: {xyzzy: 1}\n",
        "3:12",
        "no such key; training has method, epochs,",
    ),
    "a quoted number": (GOOD + 'training: {max_steps: "16"}\n', "3:23", '"16" is text because of its quotes'),
    "a quoted float": (GOOD + "training: {learning_rate: '2e-4'}\n", "3:27", ": write 2e-4"),
    "thousands": (
        GOOD + "training: {max_steps: 1_000}\n",
        "3:23",
        "a whole number above 0 or null: write 1000",
    ),
    "a word for a number": (GOOD + "training: {epochs: many}\n", "3:20", "it has to be a number above 0"),
    "zero steps": (
        GOOD + "training: {max_steps: 0}\n",
        "3:23",
        "0 is not allowed; it has to be a whole number above 0",
    ),
    "half a step": (
        GOOD + "training: {max_steps: 1.5}\n",
        "3:23",
        "1.5 is not allowed; it has to be a whole number",
    ),
    "infinite epochs": (GOOD + "training: {epochs: .inf}\n", "3:20", ".inf is not allowed"),
    "no number": (GOOD + "training: {learning_rate: .nan}\n", "3:27", ".nan is not allowed"),
    "a high rate": (
        GOOD + "training: {learning_rate: 5}\n",
        "3:27",
        "it has to be a number above 0 and below 1",
    ),
    "a huge number": (
        GOOD + "seed: " + "9" * 5000 + "\n",
        "3:7",
        "it has to be a whole number of at least 0 and below 2147483648",
    ),
    "an empty value": (GOOD + "training:\n  epochs:\n", "4:3", "training.epochs: has no value"),
    "null": (GOOD + "training: {epochs: null}\n", "3:20", "it has to be a number above 0"),
    "true for a number": (GOOD + "training: {epochs: true}\n", "3:20", "true is not allowed"),
    "auto or a number": (
        GOOD + "training: {batch_size: all}\n",
        "3:24",
        "it has to be auto or a whole number above 0",
    ),
    "a wrong choice": (
        GOOD + "training: {scheduler: cosin}\n",
        "3:23",
        "constant, linear or cosine: did you mean cosine?",
    ),
    "a choice in capitals": (GOOD + "adapter: {type: LoRA}\n", "3:17", "did you mean lora?"),
    "a number for a choice": (GOOD + "model2: x\n", "3:1", "did you mean model?"),
    "4 for 4bit": ("model: {base: x, quantization: 4}\ndata: {train: x}\n", "1:32", "did you mean 4bit?"),
    "maybe": (
        GOOD + "training: {gradient_checkpointing: maybe}\n",
        "3:36",
        "it has to be auto or offload or true or false",
    ),
    "a section as a word": (GOOD + "adapter: lora\n", "3:10", "it has to be a mapping with type, from, rank"),
    "a section as a list": (GOOD + "training: [a]\n", "3:11", "a list is not allowed"),
    "a list for a number": (
        GOOD + "seed: [1]\n",
        "3:7",
        "a list is not allowed; it has to be a whole number",
    ),
    "a mapping for a number": (GOOD + "seed: {a: 1}\n", "3:7", "a mapping is not allowed"),
    "no sources": ("model: {base: x}\ndata: {train: []}\n", "2:15", "an empty list is not allowed"),
    "an empty path": (
        "model: {base: x}\ndata: {train: ''}\n",
        "2:15",
        "data.train: empty text is not allowed",
    ),
    "a percentage": ("model: {base: x}\ndata: {train: x, validation: 10%}\n", "2:30", ": write 0.1"),
    "all rows held out": ("model: {base: x}\ndata: {train: x, validation: 1.0}\n", "2:30", "below 1"),
    "a bad format of one source": (
        "model: {base: x}\ndata:\n  train:\n    - a.jsonl\n    - {path: b.jsonl, format: sharegtp}\n",
        "5:31",
        "data.train[1].format: sharegtp is not allowed",
    ),
    "a name with a slash": (GOOD + "name: a/b\n", "3:7", "at most 64 letters, digits and . _ -"),
    "a wrong metric": (GOOD + "evaluation: {metrics: [exactmatch]}\n", "3:24", "did you mean exact_match?"),
    "a template without .jinja": (
        "model: {base: x, chat_template: a.txt}\ndata: {train: x}\n",
        "1:33",
        ".jinja file",
    ),
    "4bit without an adapter": (
        "model: {base: x, quantization: 4bit}\ndata: {train: x}\nadapter: {type: none}\n",
        "1:32",
        "4bit weights are frozen",
    ),
    "a revision of the starter": (
        "model: {base: starter, revision: main}\ndata: {train: x}\n",
        "1:34",
        "only a model of the hub has revisions",
    ),
    "a micro-batch above the batch": (
        GOOD + "training: {batch_size: 32}\n",
        "3:24",
        "more than the 16 that make a step",
    ),
    "exact_match on nothing": (
        "model: {base: x}\ndata: {train: x, validation: 0}\nevaluation: {metrics: [exact_match]}\n",
        "3:23",
        "turns validation off",
    ),
    "exact_match on plain text": (
        "model: {base: x}\ndata: {train: x, format: completion}\nevaluation: {metrics: [exact_match]}\n",
        "3:23",
        "completion is text alone",
    ),
    "patience without held-out rows": (
        "model: {base: x}\ndata: {train: x, validation: no}\nevaluation: {early_stopping_patience: 2}\n",
        "3:39",
        "turns validation off",
    ),
}


@pytest.mark.parametrize(("text", "place", "fragment"), TEXTS.values(), ids=TEXTS.keys())
def test_a_bad_recipe_says_where_and_what(text: str, place: str, fragment: str) -> None:
    message = message_of(text)
    assert message.startswith(f"train.yml:{place}: "), message
    assert fragment in message
    assert "\n" not in message, "one mistake is one message"


@pytest.mark.parametrize("text", [text for text, _, _ in TEXTS.values()], ids=TEXTS.keys())
def test_bad_recipe_is_refused_without_c_parser(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_reader, "_PARSER", yaml.SafeLoader)
    assert message_of(text).startswith("train.yml:")


OVERRIDES = {
    "an unknown key": ("training.max_stps=20", "--set training.max_stps: ", "did you mean max_steps?"),
    "a key without its section": ("max_steps=20", "--set max_steps: ", "did you mean training.max_steps?"),
    "no equals sign": ("training.max_steps", "--set training.max_steps: ", "is not key=value"),
    "no key": ("=20", "--set =20: ", "is not key=value"),
    "a wrong value": ("training.epochs=many", "--set training.epochs: ", "it has to be a number above 0"),
    "no value": ("training.epochs=", "--set training.epochs: ", "has no value"),
    "a key below a word": ("model.base.x=1", "--set model.base.x: ", "model.base is not a mapping"),
    "broken YAML": ("evaluation.samples=[a", "--set evaluation.samples: ", "this bracket is not closed"),
    "a mapping with a typo": ("adapter={rnk: 3}", "--set adapter: ", "did you mean rank?"),
}


@pytest.mark.parametrize(("option", "place", "fragment"), OVERRIDES.values(), ids=OVERRIDES.keys())
def test_a_bad_override_names_the_option(option: str, place: str, fragment: str) -> None:
    message = message_of(GOOD, option)
    assert message.startswith(place)
    assert fragment in message


def test_all_recipe_problems_follow_file_order() -> None:
    text = "seed: -1\nmodel: {bse: x}\ndata: {train: x}\ntraining: {epochs: 0}\nadapter: 3\nfoo: 1\nseed: 2\n"
    with pytest.raises(RecipeError) as caught:
        load_text(text, Path("train.yml"), ["training.max_stps=3"])
    places = [str(problem.place) for problem in caught.value.problems]
    assert places == [
        "train.yml:1:7",
        "train.yml:2:1",
        "train.yml:2:9",
        "train.yml:4:20",
        "train.yml:5:10",
        "train.yml:6:1",
        "train.yml:7:1",
        "--set training.max_stps",
    ]
    assert caught.value.message.startswith("train.yml has 8 problems:\n")


def test_impossible_combinations_are_told_beside_other_mistakes() -> None:
    message = message_of(
        "model: {base: x, quantization: 8bit}\ndata: {train: x}\nadapter: {type: none}\nseed: -1\n"
    )
    assert "8bit weights are frozen" in message
    assert "seed: -1 is not allowed" in message


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "aliases or lists that expand to more than 20,000 values" in message_of("\n".join(lines))


def test_recipe_over_one_megabyte_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.yml"
    file.write_text("# " + "x" * 1_000_000 + "\n" + GOOD)
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        load_recipe(file)


def test_missing_and_unreadable_recipes_are_told_apart(tmp_path: Path) -> None:
    """A missing file, a folder and a text in Latin-1."""
    with pytest.raises(ConfigError, match="does not exist") as missing:
        load_recipe(tmp_path / "train.yml")
    assert "ft init" in missing.value.hint
    with pytest.raises(ConfigError, match="is a folder"):
        load_recipe(tmp_path)
    file = tmp_path / "latin.yml"
    file.write_bytes(b"seed: 1\nname: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yml:2:10: not UTF-8 text: byte 0xe9"):
        load_recipe(file)


def test_unopenable_recipe_path_is_machine_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be read"):
        load_recipe(tmp_path / ("x" * 300))


HUGE = {
    "an endless number": "seed: " + "1" * 900_000 + "_",
    "an endless key": "? " + "x" * 900_000 + "\n: 1",
    "nothing but brackets": "[" * 900_000,
    "nothing but dashes": "- " * 400_000,
    "thousands of unknown keys": "".join(f"key{i}: 1\n" for i in range(5000)),
    "thousands of tags": "a: [" + "!x 1," * 5000 + "]",
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE.keys())
def test_huge_recipe_mistake_gets_short_message(text: str) -> None:
    assert len(message_of(text)) < 10_000


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [
        ("axo.yml", "base_model: a/b\nmicro_batch_size: 2\nlora_r: 8\n", "ft init --from axo.yml"),
        (
            "train.yml",
            "base_model: a/b\nmicro_batch_size: 2\nlora_r: 8\n",
            "ft init recipe.yml --from train.yml",
        ),
        ("my mlx.yml", "model: a/b\ndata: d\niters: 3\nlora_parameters: {}\n", "ft init --from 'my mlx.yml'"),
    ],
)
def test_file_of_another_trainer_is_known_as_one(folder: Path, name: str, text: str, command: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path(name))
    assert f"`{command}`" in caught.value.hint


def test_recipe_with_a_key_of_another_trainer_is_a_recipe(folder: Path) -> None:
    (folder / "train.yml").write_text(GOOD + "lora_r: 8\nbase_model: a/b\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path("train.yml"))
    assert caught.value.hint == ""
