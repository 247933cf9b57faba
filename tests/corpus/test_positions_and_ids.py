"""Rows past a model's positions, and tokens past its embedding, are cut or refused before anything is loaded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from engine.backends.mlx.causal_lm import MlxModel
from engine.backends.refilled import greedy_answers
from engine.backends.torch.causal_lm import TorchModel
from engine.config.load import load_text
from engine.config.schema import TrainConfig
from engine.data.prepare import prepare
from engine.data.preview.previews import Previews
from engine.data.preview.values import View
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Message, Prompt, Question, Sampling
from engine.errors import ConfigError, FtError, ModelError
from engine.evaluation.scores import answer_all
from engine.inference.answer import End
from engine.inference.generation import Generator
from engine.models.sizing import room_of
from engine.planning.cached import CachedPlanner
from engine.planning.estimate import estimate
from engine.runs.directory.events import Sample
from tests.tiny import make_family
from tests.training import Job, recipe_text

BACKENDS: dict[str, Any] = {"peft": TorchModel, "mlx": MlxModel}
POSITIONS = 48
LONG = "the quick brown fox jumps over the lazy dog, a bird in the hand is worth two in the bush; " * 2


@pytest.fixture(scope="module")
def gpt2(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 with few learned positions."""
    folder = tmp_path_factory.mktemp("gpt2") / "model"
    return make_family(folder, tiny_model, "GPT2", {"max_position_embeddings": POSITIONS})


@pytest.fixture(scope="module")
def more_tokens(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama, whose tokenizer has one token more than its embedding has rows: `kiosk`, id 384."""
    folder = tmp_path_factory.mktemp("more") / "model"
    shutil.copytree(tiny_model, folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["kiosk"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def chats(folder: Path, answers: list[str]) -> Path:
    path = folder / "chats.jsonl"
    rows = [
        [{"role": "user", "content": f"Say it {n}."}, {"role": "assistant", "content": answer}]
        for n, answer in enumerate(answers)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return path


def asking(text: str) -> Prompt:
    return Prompt((Message("user", text),), 0)


def recipe(model: Path, folder: Path, rows: Path, **sections: Any) -> TrainConfig:
    """A recipe with rows of its own; its evaluation asks nothing."""
    sections = {"evaluation": {"samples": []}, "model": {"max_seq_length": 512}} | sections
    return load_text(recipe_text(model, rows, **sections), folder / "train.yml").config


@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_rows_past_learned_positions_are_cut(
    gpt2: Path, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note says so."""
    rows = chats(tmp_path, ["tea", LONG, "dog", LONG + "!", "fox", LONG + "?"])
    job = Job.make(
        gpt2, tmp_path, backend=backend, data={"train": str(rows), "validation": 0.34},
        model={"max_seq_length": 512}, training={"max_steps": 1},
        evaluation={"samples": ["Say fox."], "sample_tokens": 400, "metrics": ["exact_match"]},
    )  # fmt: skip
    assert job.plan.work.longest == POSITIONS
    assert job.plan.reasons["length"] == f"rows are truncated at the model's {POSITIONS} positions"
    notes = prepare(job.config, gpt2).notes
    assert any(
        f"3 of 6 rows are longer than the model's {POSITIONS} positions and were cut" in n for n in notes
    )
    asked: list[tuple[int, int]] = []

    def generate(self: Any, prompts: Any, max_tokens: int, *more: Any) -> list[list[int]]:
        asked.extend((len(prompt), max_tokens) for prompt in prompts)
        return answer(self, prompts, max_tokens, *more)

    def greedy(model: Any, prompts: Any, most: Any, *more: Any) -> Any:
        asked.extend(zip(map(len, prompts), most, strict=True))
        return greedy_answers(model, prompts, most, *more)

    # MLX reads beyond its positions without an error: so this looks at the lengths.
    answer = BACKENDS[backend].generate
    monkeypatch.setattr(BACKENDS[backend], "generate", generate)
    monkeypatch.setattr("engine.evaluation.scores.greedy_answers", greedy)
    assert job.train() == "completed"
    assert len(asked) >= 4
    assert all(prompt + most <= POSITIONS for prompt, most in asked)
    assert any(prompt + most == POSITIONS for prompt, most in asked)
    assert [event for event in job.run.events() if isinstance(event, Sample)]


def test_rows_without_trained_positions_get_hint(gpt2: Path, tmp_path: Path) -> None:
    """All that would be trained lies past the model's positions."""
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "tea"}]
    rows.write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(FtError, match=f"cut to the model's {POSITIONS} positions") as caught:
        prepare(recipe(gpt2, tmp_path, rows), gpt2)
    assert "more positions" in caught.value.hint
    assert "max_seq_length" not in caught.value.hint


def test_rotary_positions_past_context_get_note(tiny_model: Path, tmp_path: Path) -> None:
    model = make_family(tmp_path / "model", tiny_model, "Llama", {})  # made for 128 tokens
    rows = chats(tmp_path, ["tea", LONG * 3])
    config = recipe(model, tmp_path, rows, data={"validation": 0})
    dataset = prepare(config, model)
    assert int(dataset.train.lengths.max()) > 128
    assert any(
        "1 of 2 rows are longer than the 128 tokens that the model was made for" in n for n in dataset.notes
    )
    plan = estimate(config)
    assert plan.work.longest > 128
    assert "made for 128" in plan.reasons["length"]
    assert plan.positions is None


@pytest.mark.parametrize(
    ("family", "settings", "positions"),
    [
        ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}, 128),
        ("GPTNeoX", {}, None),
        ("GPTJ", {"rotary_dim": 4}, 128),
    ],
)
def test_model_folder_tells_positions_and_ids(
    family: str, settings: dict[str, Any], positions: int | None, tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    import transformers

    model = make_family(tmp_path / "model", tiny_model, family, settings)
    assert room_of(model).positions == positions
    assert room_of(model).ids == 384
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model)
    loaded(torch.ones((1, 128), dtype=torch.long))
    if positions is not None:
        with pytest.raises((IndexError, RuntimeError)):
            loaded(torch.ones((1, 129), dtype=torch.long))


def test_token_beyond_vocabulary_is_named_before_loading(more_tokens: Path, tmp_path: Path) -> None:
    rows = chats(tmp_path, ["tea", "at the kiosk", "dog"])
    config = recipe(more_tokens, tmp_path, rows, data={"validation": 0})
    text = recipe_text(more_tokens, rows, data={"validation": 0}, evaluation={"samples": []})

    ways: dict[str, Callable[[], Any]] = {
        "train": lambda: prepare(config, more_tokens),
        "plan": lambda: estimate(config),
        "the plan beside the editor": lambda: CachedPlanner().plan(text, tmp_path / "train.yml"),
    }
    for way, run in ways.items():
        with pytest.raises(ModelError) as caught:
            run()
        assert caught.value.exit_code == 4, way
        assert "chats.jsonl:2: the token kiosk has the id 384" in caught.value.message, way
        assert "384 rows" in caught.value.message, way
    view = View(model=str(more_tokens))
    tea, kiosk, _ = Previews().show(str(rows), [0, 1, 2], view)
    assert not tea.problem
    assert "the token kiosk has the id 384" in kiosk.problem


def test_spare_tokens_do_no_harm(more_tokens: Path, tmp_path: Path) -> None:
    """The padding token may be such a one: nothing looks at padding."""
    model = tmp_path / "model"
    shutil.copytree(more_tokens, model)
    about = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(about | {"pad_token": "kiosk"}))
    assert Tokenizer.load(model).pad_id == 384
    job = Job.make(
        model, tmp_path, data={"packing": False}, training={"max_steps": 1}, evaluation={"samples": []}
    )
    assert job.train() == "completed"


def test_prompt_tokens_must_fit_model(gpt2: Path, more_tokens: Path, tmp_path: Path) -> None:
    rows = chats(tmp_path, ["tea", "fox", "dog"])
    long = recipe(gpt2, tmp_path, rows, evaluation={"samples": ["Say fox.", LONG]})
    with pytest.raises(
        ConfigError, match=rf"evaluation.samples\[1\]: it has \d+ tokens.*{POSITIONS} positions"
    ):
        estimate(long)
    strange = recipe(more_tokens, tmp_path, rows, evaluation={"samples": ["a kiosk"]})
    with pytest.raises(ModelError, match=r"evaluation.samples\[0\]: the token kiosk"):
        estimate(strange)

    chat = Generator.open(gpt2, None)
    asked = len(chat.tokenizer.prompt_ids([Message("user", "Say fox.")]))
    chat.tokenizer.stop_ids = frozenset()  # it goes on to its last position
    pieces = list(chat.stream(asking("Say fox."), Sampling(400)))
    assert pieces[-1].end == End("length", asked, POSITIONS - asked)
    with pytest.raises(ConfigError, match=f"{POSITIONS} positions"):
        list(chat.stream(asking(LONG), Sampling(4)))
    with pytest.raises(ModelError, match="kiosk"):
        list(Generator.open(more_tokens, None).stream(asking("a kiosk"), Sampling(4)))


def test_exact_match_answer_length_follows_own_prompt(gpt2: Path, tmp_path: Path) -> None:
    """Rows of a batch grow together: a short prompt must not be cut where a long one beside it ends."""
    job = Job.make(gpt2, tmp_path)
    short = prepare(job.config, gpt2).questions
    long = Question(tuple([5] * (POSITIONS - 2)), "x", "long")
    model, tokenizer = job.backend().model, Tokenizer.load(gpt2)
    told: list[tuple[int, int]] = []
    asked = [long, *short]
    answers = answer_all(
        model, tokenizer, asked, lambda done, of: told.append((done, of)), lambda: None,
        positions=POSITIONS, most=6,
    )  # fmt: skip
    alone = [
        tokenizer.decode(
            [*model.stream(one.prompt_ids, min(6, POSITIONS - len(one.prompt_ids)), tokenizer.stop_ids)]
        )
        for one in asked
    ]
    assert answers == alone
    assert len(answers[0]) < len(max(answers[1:], key=len))
    assert told == [(done, len(asked)) for done in range(len(asked) + 1)]


@pytest.mark.slow
def test_engine_exits_4_on_unknown_token(more_tokens: Path, tmp_path: Path) -> None:
    rows = chats(tmp_path, ["tea", "at the kiosk", "dog"])
    (tmp_path / "train.yml").write_text(recipe_text(more_tokens, rows))
    done = subprocess.run(
        [sys.executable, "-m", "ft.cli", "train", "train.yml", "--plain", "--run-dir", "run"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "the token kiosk has the id 384" in done.stdout + done.stderr
