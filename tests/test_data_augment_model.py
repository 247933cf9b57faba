"""Rows made by a real model in the engine's process: drawn by seed, stopped and resumed, trained."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.backends.base import Interrupted
from engine.data.augment.journal import NAME as JOURNAL
from engine.data.token_spec import TokenSpec
from engine.data.types import Message, Prompt, Sampling
from engine.errors import ConfigError, ModelError
from engine.inference.answer import gathered
from engine.inference.generation import Generator
from engine.service.client import Client
from ft.command_table import app
from tests.test_data_command import ft
from tests.test_data_lint import chat, good
from tests.test_data_prepare import write

PROMPTS = [Prompt((Message("user", f"number {n}"),), seed=n) for n in range(3)]


def quiet() -> None:
    """Nobody wants to stop."""


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> Generator:
    return Generator.open(tiny_model, None)


def test_seed_fixes_answer_in_any_batch(generator: Generator) -> None:
    def said(prompts: list[Prompt], temperature: float = 1.5) -> list[str]:
        return [answer.text for answer in generator.answers(prompts, Sampling(12, temperature), quiet)]

    first, second, third = said(PROMPTS)
    assert said(PROMPTS[::-1]) == [third, second, first]
    same = [Prompt(PROMPTS[0].messages, seed) for seed in (0, 0, 9)]
    one, two, other = said(same)
    assert one == two == first
    assert other != first
    assert len(set(said(same, temperature=0.0))) == 1


def test_chat_and_batch_draw_same_answer(
    generator: Generator,
) -> None:
    """With the same temperature and seed."""
    for prompt in PROMPTS:
        (answer,) = generator.answers([prompt], Sampling(12, 1.5), quiet)
        assert gathered(generator.stream(prompt, Sampling(12, 1.5))).text == answer.text


def test_answer_reaching_token_limit_says_so(generator: Generator) -> None:
    assert [answer.ended for answer in generator.answers(PROMPTS, Sampling(3), quiet)] == [False] * 3


def test_answer_stops_between_two_tokens(generator: Generator) -> None:
    calls = iter(range(100))

    def poll() -> None:
        if next(calls) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        generator.answers(PROMPTS, Sampling(50), poll)
    assert next(calls) == 3


def test_engine_answers_many_prompts_at_once(generator: Generator, tiny_model: Path, tmp_path: Path) -> None:
    with Client(tmp_path / "log") as client:
        assert client.answers(tiny_model, TokenSpec(), PROMPTS, 12, 1.5) == generator.answers(
            PROMPTS, Sampling(12, 1.5), quiet
        )
        with pytest.raises(ModelError, match="no-such"):
            client.answers(tmp_path / "no-such", TokenSpec(), PROMPTS, 12, 1.5)


def augment(out: str, model: Path, *more: str) -> list[str]:
    """The words of a command whose every answer is a few tokens of a model with random weights."""
    return [
        *("prepare", "rows.jsonl", "-o", out, "--augment", "back-translation"),
        *("--model", str(model), "--max-tokens", "64", "--tries", "1", *more),
    ]


@pytest.mark.slow
def test_same_seed_makes_same_augmented_folder(folder: Path, tiny_model: Path) -> None:
    write(folder / "rows.jsonl", good(20))
    shown = [ft(*augment(name, tiny_model)).stdout for name in ("one", "two")]
    for path in sorted((folder / "one").iterdir()):
        assert path.read_bytes() == (folder / "two" / path.name).read_bytes()
    report = json.loads((folder / "one" / "report.json").read_text())["augmented"]
    assert sum(report["rejected"].values()) + report["made"] == report["asked"] == 18
    assert report["rejected"]["cut"] >= 1  # weights drawn at random hardly ever end
    assert "of 18 asked for" in shown[0]
    assert "cut by --max-tokens, or without an end" in shown[0]
    assert not (folder / "one" / JOURNAL).exists()


def test_prepare_augments_no_rows_unasked(folder: Path) -> None:
    write(folder / "rows.jsonl", good(20))
    ft("prepare", "rows.jsonl", "-o", "out")
    assert json.loads((folder / "out" / "report.json").read_text())["augmented"] is None
    assert "augmented" not in (folder / "out" / "train.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--amount", "2", "--max-tokens", "9"], "--amount, --max-tokens: only with --augment"),
        (["--augment", "new-rows", "--through", "Dutch"], "--through: only with --augment back-translation"),
    ],
)
def test_augment_option_without_effect_is_refused(folder: Path, words: list[str], said: str) -> None:
    write(folder / "rows.jsonl", good(5))
    with pytest.raises(ConfigError, match=said):
        ft("prepare", "rows.jsonl", "-o", "out", *words)
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_model_without_chat_template_needs_one(folder: Path, tiny_model: Path) -> None:
    """The refusal says so, and an option gives it one."""
    write(folder / "rows.jsonl", good(5))
    bare = folder / "bare"
    bare.mkdir()
    for path in tiny_model.iterdir():
        if path.name != "chat_template.jinja":
            (bare / path.name).symlink_to(path)
    about = json.loads((tiny_model / "tokenizer_config.json").read_text())
    about.pop("chat_template", None)
    (bare / "tokenizer_config.json").unlink()
    (bare / "tokenizer_config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="no chat template"):
        ft(*augment("out", bare))
    ft(*augment("out", bare, "--set", "model.chat_template=chatml"))


def test_check_reports_augmented_rows_held_out(folder: Path, tiny_model: Path) -> None:
    """It does not report that they are like the rows they were made from."""
    rows = good(40)
    made = [
        {**chat(f"Say: {row['messages'][0]['content']}", row["messages"][1]["content"]),
         "augmented": {"kind": "paraphrase", "from": [f"train.jsonl:{n}"], "model": "starter", "seed": 1}}
        for n, row in enumerate(rows, start=1)
    ]  # fmt: skip
    write(folder / "all.jsonl", [*rows, *made])

    def found(*more: str) -> dict[str, str]:
        result = CliRunner().invoke(
            app, ["data", "check", "all.jsonl", "--model", str(tiny_model), "--json", *more]
        )
        return {each["kind"]: each["severity"] for each in json.loads(result.stdout)["findings"]}

    assert "near-duplicate" not in found()
    assert found("--set", "data.validation=0.5")["augmented"] == "error"


@pytest.mark.slow
def test_ctrl_c_keeps_answers_for_next_run(folder: Path, tiny_model: Path) -> None:
    """The same command resumes where it stopped."""
    write(folder / "rows.jsonl", good(90))
    command = [sys.executable, "-P", "-m", "ft.cli", "data"]
    stopped = subprocess.Popen(
        [*command, *augment("out", tiny_model, "--max-tokens", "256")], stderr=subprocess.PIPE, text=True
    )
    journal = folder / "out" / JOURNAL
    while stopped.poll() is None and not (journal.exists() and journal.read_text().count("\n") > 2):
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    _, told = stopped.communicate()
    assert stopped.returncode == 130, told
    assert "run the same command again to continue" in told
    kept = journal.read_text()
    done = (
        [*augment("out", tiny_model, "--max-tokens", "256")],
        [*augment("whole", tiny_model, "--max-tokens", "256")],
    )
    for words in done:
        subprocess.run([*command, *words], check=True, capture_output=True)
    assert kept.count("\n") > 2
    for path in sorted((folder / "whole").iterdir()):
        assert path.read_bytes() == (folder / "out" / path.name).read_bytes()


@pytest.mark.slow
def test_starter_augments_marks_and_trains_rows(
    folder: Path, ft_home_with_starter: Path, tiny_model: Path
) -> None:
    questions = {
        "What is the capital of France?": "Paris is.",
        "Who wrote the play Romeo and Juliet?": "Shakespeare did.",
        "How many legs does a spider have?": "Eight.",
        "Which planet is the largest of all?": "Jupiter is.",
        "Why is the sky blue on a clear day?": "Air scatters blue light most.",
        "When did the second world war end?": "In 1945.",
    }
    write(folder / "rows.jsonl", [chat(*one) for one in questions.items()])
    shown = ft(
        *("prepare", "rows.jsonl", "-o", "clean", "--validation", "0.17", "--augment", "paraphrase"),
        *("--max-tokens", "32", "--tries", "3"),
    ).stdout
    train = [json.loads(line) for line in (folder / "clean" / "train.jsonl").read_text().splitlines()]
    made = [row for row in train if "augmented" in row]
    assert made, shown
    for row in made:
        source = train[int(row["augmented"]["from"][0].partition(":")[2]) - 1]
        assert row["messages"][1] == source["messages"][1]
        assert row["messages"][0]["content"] != source["messages"][0]["content"]
    (folder / "train.yml").write_text(
        f"model: {{base: {tiny_model}, max_seq_length: 128}}\n"
        "data: {train: clean/train.jsonl, validation: clean/validation.jsonl}\n"
        "training: {max_steps: 2, effective_batch_size: 4}\n"
    )
    result = CliRunner().invoke(app, ["train", "--plain"])
    assert result.exit_code == 0, result.output
