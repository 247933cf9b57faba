"""Meaning of a recipe: values as a person writes them, paths, overrides, and the way back to text."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.config.load import Recipe, load_recipe, load_text
from engine.config.problems import Problem, RecipeError
from engine.config.profiles import profile_names, profile_summary, profile_text
from engine.config.rules import recipe_schema
from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.errors import ConfigError

ROOT = Path(__file__).parent.parent
GOOD = "model: {base: starter}\ndata: {train: starter}\n"


def load(text: str, *overrides: str, folder: Path = Path("/recipes")) -> TrainConfig:
    return load_text(text, folder / "train.yml", overrides).config


MEANINGS = {
    "2e-4": ("training: {learning_rate: 2e-4}", "training.learning_rate", 0.0002),
    "1.5E-3": ("training: {learning_rate: 1.5E-3}", "training.learning_rate", 0.0015),
    ".5": ("training: {epochs: .5}", "training.epochs", 0.5),
    "010 is ten": ("training: {max_steps: 010}", "training.max_steps", 10),
    "0x10": ("training: {max_steps: 0x10}", "training.max_steps", 16),
    "0o17": ("training: {max_steps: 0o17}", "training.max_steps", 15),
    "1e3 steps": ("training: {max_steps: 1e3}", "training.max_steps", 1000),
    "3 epochs": ("training: {epochs: 3}", "training.epochs", 3.0),
    "null": ("training: {max_grad_norm: null}", "training.max_grad_norm", None),
    "~": ("training: {max_grad_norm: ~}", "training.max_grad_norm", None),
    "no switch": ("training: {gradient_checkpointing: no}", "training.gradient_checkpointing", False),
    "Yes": ("training: {gradient_checkpointing: Yes}", "training.gradient_checkpointing", True),
    "on": ("model: {base: x, double_quant: on}\ndata: {train: x}", "model.double_quant", True),
    "off": ("model: {base: x, double_quant: off}\ndata: {train: x}", "model.double_quant", False),
    "a name no": ("name: no", "name", "no"),
    "a name 010": ("name: 010", "name", "010"),
    "a name 2e-4": ("name: 2e-4", "name", "2e-4"),
    "a name true": ("name: true", "name", "true"),
    "a date": ("name: 2026-11-22", "name", "2026-11-22"),
    "a commit of digits": (
        "model: {base: x, revision: 0123456}\ndata: {train: x}",
        "model.revision",
        "0123456",
    ),
    "prompts": ("evaluation: {samples: [yes, 1e3, a b]}", "evaluation.samples", ["yes", "1e3", "a b"]),
    "validation no": ("model: {base: x}\ndata: {train: x, validation: no}", "data.validation", 0.0),
    "validation null": ("model: {base: x}\ndata: {train: x, validation: null}", "data.validation", 0.0),
    "validation 0": ("model: {base: x}\ndata: {train: x, validation: 0}", "data.validation", 0.0),
    "an empty section": ("training:\n  # epochs: 1", "training.epochs", 3.0),
    "a comment with a colon": ("name: x  # a: b", "name", "x"),
    "an anchor": ("name: &n x\nevaluation: {samples: [*n, *n]}", "evaluation.samples", ["x", "x"]),
    "JSON": ('{"model": {"base": "x"}, "data": {"train": "x"}, "seed": 7}', "seed", 7),
    "a byte order mark": ("\ufeffseed: 7", "seed", 7),
    "CRLF": ("seed: 7\r\nname: x\r\n", "name", "x"),
}


@pytest.mark.parametrize(("text", "key", "value"), MEANINGS.values(), ids=MEANINGS.keys())
def test_recipe_value_means_what_people_mean(text: str, key: str, value: object) -> None:
    found: Any = load(text if "base" in text else f"{text}\n{GOOD}")
    for step in key.split("."):
        found = getattr(found, step)
    assert found == value
    assert type(found) is type(value)


def test_paths_start_at_the_recipe_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are no paths stay as they are."""
    monkeypatch.setenv("HOME", "/home/ada")
    (tmp_path / "my-model").mkdir()
    config = load(
        "model: {base: my-model, chat_template: t.jinja}\n"
        "data: {train: [a.jsonl, ../b.csv, ~/c.json, starter, {path: d.parquet}, https://example.org/e.json],\n"
        "       validation: /v.jsonl}\n"
        "output: {dir: out}\n",
        folder=tmp_path,
    )
    assert config.model.base == str(tmp_path / "my-model")
    assert config.model.chat_template == str(tmp_path / "t.jinja")
    assert config.data.train == [
        str(tmp_path / "a.jsonl"),
        str(tmp_path.parent / "b.csv"),
        "/home/ada/c.json",
        "starter",
        Source(path=str(tmp_path / "d.parquet")),
        "https://example.org/e.json",
    ]
    assert config.data.validation == "/v.jsonl"
    assert config.output.dir == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("base", "meant"),
    [
        ("starter", "starter"),
        ("org/model", "org/model"),
        ("./model", "/recipes/model"),
        ("../model", "/model"),
        ("~/model", "/home/ada/model"),
        ("/model", "/model"),
    ],
)
def test_model_base_is_folder_or_hub_id(base: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert load(f"model: {{base: {base}}}\ndata: {{train: starter}}\n").model.base == meant


def test_overrides_win_and_the_last_one_most() -> None:
    config = load(
        GOOD + "training:\n",
        "training.max_steps=20",
        "training.max_steps=30",
        "evaluation.samples=[a, 'b: c']",
        "data.train={path: x.jsonl, max_samples: 5}",
        "output.dir=",
        "name=a=b".replace("a=b", "a-b"),
    )
    assert config.training.max_steps == 30
    assert config.evaluation.samples == ["a", "b: c"]
    assert config.data.train == Source(path="/recipes/x.jsonl", max_samples=5)
    assert config.output.dir is None
    assert config.name == "a-b"


def test_the_source_is_kept_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "train.yml"
    file.write_text("# mine\n" + GOOD)
    recipe = load_recipe(file, ["seed=7"])
    assert recipe.source == "# mine\n" + GOOD
    assert recipe.path == file
    assert "seed: 7" in recipe.resolved()


def test_config_built_in_python_obeys_same_rules() -> None:
    with pytest.raises(ValidationError, match="4bit weights are frozen"):
        TrainConfig.model_validate(
            {
                "model": {"base": "x", "quantization": "4bit"},
                "data": {"train": "x"},
                "adapter": {"type": "none"},
            }
        )


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
awkward = st.sampled_from(
    [
        "no",
        "010",
        "2e-4",
        "1e5",
        "0o17",
        "~",
        "null",
        "a: b",
        "# x",
        " x ",
        "- a",
        "'",
        "\n",
        "1:30",
        "=",
        "<<",
        "!x",
    ]
)
words = texts | awkward
numbers = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    """Any recipe whose paths are absolute already, so that reading it changes nothing."""
    path = words.map(lambda text: "/data/" + text.replace("/", "_").replace("\0", "_"))
    source = path.filter(lambda p: p not in ("/data/.", "/data/..")) | st.just("starter")
    sources = source | st.builds(Source, path=source, max_samples=st.none() | st.integers(1, 10**6))
    body = {
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        "seed": draw(st.integers(0, 2**31 - 1)),
        "model": {
            "base": "org/" + draw(words).replace("/", "").replace("\0", ""),
            "revision": draw(st.none() | words),
        },
        "data": {
            "train": draw(sources | st.lists(sources, min_size=1, max_size=3)),
            "validation": draw(numbers | sources.filter(lambda s: isinstance(s, Source))),
            "packing": draw(st.sampled_from(["auto", True, False])),
        },
        "adapter": {"target_modules": draw(st.just("all-linear") | st.lists(words, min_size=1, max_size=3))},
        "training": {"learning_rate": draw(numbers), "epochs": draw(st.floats(0.01, 1e9))},
        "evaluation": {"samples": draw(st.lists(words, max_size=3))},
    }
    return TrainConfig.model_validate(body)


@given(configs())
@settings(max_examples=100, deadline=None)
def test_resolved_recipe_reads_back_the_same(config: TrainConfig) -> None:
    text = Recipe(config, Path("/recipes/train.yml"), "").resolved()
    assert load(text, folder=Path("/elsewhere")) == config


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")))
@example(b"\xff\xfea\x00:\x00")
@example(b"a: &a [*a]")
@example(b"%YAML 9.9\n--- {}")
@example(b"--- >\n\x85")
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_recipe_or_config_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_bytes(data)
    with contextlib.suppress(ConfigError):
        load_recipe(file)


def problems_of(text: str, *overrides: str) -> tuple[Problem, ...]:
    """All that is wrong with a recipe; nothing where it is good."""
    try:
        load(text, *overrides)
    except RecipeError as error:
        return error.problems
    return ()


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
KEYS = [*TrainConfig.model_fields, "train", "base", "rank", "epochs", "metrics", "samples", "path"]


@given(
    st.dictionaries(st.sampled_from(KEYS), st.dictionaries(st.sampled_from(KEYS), yaml_values) | yaml_values)
)
@settings(max_examples=100, deadline=None)
def test_any_yaml_is_recipe_or_placed_problems(shape: dict[str, Any]) -> None:
    text = yaml.safe_dump(shape, allow_unicode=True)
    problems = problems_of(text)
    assert all(str(problem.place).startswith("/recipes/train.yml:") for problem in problems)


@given(words, words)
@settings(max_examples=100, deadline=None)
def test_any_override_is_value_or_config_error(key: str, value: str) -> None:
    for option in (f"{key}={value}", f"training.{key}={value}", f"data.train={value}", key):
        problems = problems_of(GOOD, option)
        assert all(str(problem.place).startswith(("--set", "/recipes/train.yml:")) for problem in problems)


def test_json_schema_explains_every_key() -> None:
    schema = recipe_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    sections = [schema, *schema["$defs"].values()]
    silent = [
        f"{section['title']}.{key}"
        for section in sections
        for key, value in section["properties"].items()
        if not value.get("description") and "$ref" not in value
    ]
    assert silent == []
    assert all(section["additionalProperties"] is False for section in sections)


@pytest.mark.parametrize("name", ["starter", "chat", "instruction", "code", "domain", "quick"])
def test_a_shipped_profile_is_a_whole_recipe(name: str) -> None:
    assert name in profile_names()
    assert len(profile_summary(name)) > 20
    recipe = load_text(profile_text(name), Path(f"/recipes/{name}.yml"))
    assert recipe.config.name == name


def test_top_level_recipe_is_the_starter_profile() -> None:
    assert (ROOT / "train.yml").read_text(encoding="utf-8") == profile_text("starter")


def test_the_starter_profile_counts_its_rows_rightly() -> None:
    folder = ROOT / "engine" / "data" / "starter"
    for name, words in (("train", "orders with their JSON"), ("validation", "other orders")):
        rows = len((folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
        assert f"# {rows} {words}" in profile_text("starter")


def test_own_profiles_win_over_shipped_ones(ft_home: Path) -> None:
    """They work in the same way."""
    folder = ft_home / "profiles"
    folder.mkdir(parents=True)
    (folder / "mine.yml").write_text("# For my team\n" + GOOD)
    (folder / "chat.yml").write_text("# My chat\n" + GOOD)
    assert profile_names()[0] == "starter"
    assert "mine" in profile_names()
    assert profile_summary("mine") == "For my team"
    assert profile_summary("chat") == "My chat"


def test_unknown_profile_names_the_nearest(ft_home: Path) -> None:
    """No other file is read in its place."""
    with pytest.raises(ConfigError, match="did you mean chat"):
        profile_text("chta")
    (ft_home / "secret.yml").parent.mkdir(parents=True, exist_ok=True)
    (ft_home / "secret.yml").write_text("x")
    with pytest.raises(ConfigError, match="there is no profile"):
        profile_text("../secret")
