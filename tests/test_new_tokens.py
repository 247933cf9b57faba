"""`model.add_tokens`, `adapter.modules_to_save`: new tokens, embedding and output layer are trained and delivered."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from engine.backend_spec import spec_of
from engine.backends import load_trainer
from engine.backends.torch.vocabulary import grow
from engine.config.load import load_text
from engine.data.prepare import prepare
from engine.data.preview.previews import Previews
from engine.data.preview.values import View
from engine.data.token_spec import TokenSpec
from engine.data.tokenization.tokenizer import Tokenizer, new_tokens
from engine.data.types import Message, Prompt, Sampling
from engine.errors import ConfigError, ModelError
from engine.inference.answer import gathered
from engine.inference.generation import Generator
from engine.models.saved_adapter import read_adapter
from engine.planning.estimate import estimate
from engine.planning.key_support import refusal
from engine.runs.directory import checkpoints
from engine.runs.directory.start_adapter import start_of
from engine.service.client import Client
from tests.plan_fixtures import CUDA, LARGE, plan
from tests.tiny import VOCAB, make_family
from tests.training import Job, StopAtPoll, batch_of, recipe_text, train_step

NOTE, KIOSK = VOCAB, VOCAB + 1
TOKENS = {"add_tokens": ["<note>", "kiosk"]}
ROWS = [[3, 40, NOTE, 60, KIOSK, 80], [3, 91, 92, NOTE, 94, 95, 96, 97, 98, 99], [KIOSK, 33, 44]]
BATCH = batch_of(ROWS, packed=False)
FP32 = {"weights_dtype": "fp32", "compute_dtype": "fp32"}
BACKENDS = ("peft", "mlx")
WHOLE: dict[str, dict[str, Any]] = {
    "rows of new tokens": {},
    "dora": {"type": "dora"},
    "pissa": {"init": "pissa"},
    "embedding": {"modules_to_save": ["embed_tokens"]},
    "head": {"modules_to_save": ["lm_head"]},
    "both": {"modules_to_save": ["embed_tokens", "lm_head"]},
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "untied": ("Llama", {"tie_word_embeddings": False}),
    "tied, under other names": ("GPT2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "tied, scaled and capped": ("Gemma2", {"head_dim": 16, "final_logit_softcapping": 1.0}),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("family") / "model"
    return request.param, make_family(folder, tiny_model, *FAMILIES[request.param])


@pytest.fixture(scope="module")
def untied(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family(tmp_path_factory.mktemp("untied") / "model", tiny_model, *FAMILIES["untied"])


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """Without mx.compile, which calls the C++ compiler once for every new shape."""
    mx.disable_compile()
    yield
    mx.enable_compile()


def notes(folder: Path) -> Path:
    """Rows that use the new tokens."""
    path = folder / "notes.jsonl"
    rows = [
        [{"role": "user", "content": f"Where {n}?"}, {"role": "assistant", "content": f"<note>the kiosk {n}"}]
        for n in range(12)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return path


def job_of(model: Path, folder: Path, /, **sections: Any) -> Job:
    folder.mkdir(exist_ok=True)
    given = {"model": TOKENS, "evaluation": {"samples": []}, "data": {"train": str(notes(folder))}} | sections
    given["adapter"] = {"rank": 4, "dropout": 0.0} | given.get("adapter", {})
    return Job.make(model, folder, **given)


def backend_of(job: Job, name: str, adapter: Path | None = None, **changes: Any) -> Any:
    return load_trainer(
        job.plan.changed(backend=name, **FP32 | changes), job.config, job.model, adapter=adapter
    )


@torch.no_grad()
def log_probabilities(model: Any) -> list[float]:
    """Of `ROWS`, by a model of transformers or PEFT."""
    values = []
    for row in ROWS:
        logits = model(input_ids=torch.tensor([row])).logits[0].float().log_softmax(-1)
        values += [float(logits[i - 1, row[i]]) for i in range(1, len(row))]
    return values


def as_peft(base: Path, adapter: Path) -> Any:
    """As PEFT's manual has it: resize the base to the tokenizer that lies beside the adapter."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(adapter)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return peft.PeftModel.from_pretrained(model, str(adapter)).eval()


@pytest.mark.parametrize("what", WHOLE)
def test_new_tokens_learn_same_on_both_backends(family: tuple[str, Path], what: str, tmp_path: Path) -> None:
    """Each backend's adapter gives the same probabilities in PEFT, on the other backend, and merged."""
    _, base = family
    job = job_of(base, tmp_path, adapter=WHOLE[what])
    sides = {name: backend_of(job, name) for name in BACKENDS}
    for step in range(4):
        one, other = (train_step(side, [BATCH], 1e-2, step, lambda: None) for side in sides.values())
        assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-3)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-2)
    assert {len(side.trained) for side in sides.values()} == {len(sides["peft"].trained)}
    for name, side in sides.items():
        folder = tmp_path / name
        side.save_weights(folder)
        ours = side.model.logps(BATCH).tolist()
        theirs = as_peft(base, folder)
        assert np.allclose(log_probabilities(theirs), ours, atol=1e-4)
        crossed = backend_of(job, next(other for other in BACKENDS if other != name), folder)
        assert np.allclose(crossed.model.logps(BATCH).tolist(), ours, atol=1e-4)
        assert crossed.model.generate([ROWS[0][:3]], 4, {2}, lambda: None) == side.model.generate(
            [ROWS[0][:3]], 4, {2}, lambda: None
        )
        theirs.merge_and_unload().save_pretrained(tmp_path / "merged")
        merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
        assert np.allclose(log_probabilities(merged), ours, atol=1e-4)
    assert sides["peft"].evaluate(BATCH).loss == pytest.approx(sides["mlx"].evaluate(BATCH).loss, rel=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_new_token_rows_are_trained(backend: str, untied: Path, tmp_path: Path) -> None:
    """They alone are stored."""
    job = job_of(untied, tmp_path)
    side = backend_of(job, backend)
    for step in range(3):
        train_step(side, [BATCH], 1e-2, step, lambda: None)
    side.save_weights(tmp_path / "adapter")
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    beside = {name: value.shape for name, value in stored.items() if "lora" not in name}
    delta = "token_adapter.trainable_tokens_delta"
    assert beside == {
        f"base_model.model.model.embed_tokens.{delta}": (2, 32),
        f"base_model.model.lm_head.{delta}": (2, 32),
    }
    merged = as_peft(untied, tmp_path / "adapter").merge_and_unload()
    base = transformers.AutoModelForCausalLM.from_pretrained(untied, dtype=torch.float32)
    for ours, theirs in (
        (merged.get_input_embeddings(), base.get_input_embeddings()),
        (merged.get_output_embeddings(), base.get_output_embeddings()),
    ):
        assert torch.equal(ours.weight[:VOCAB], theirs.weight)
        assert ours.weight.shape[0] == VOCAB + 2


def test_new_token_starts_as_mean_of_pieces(untied: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(untied, dtype=torch.float32)
    before = [layer.weight.clone() for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    tokens = new_tokens(untied, ["<note>", "kiosk", "<|im_end|>"])
    pieces = Tokenizer.load(untied).encode(["kiosk"], special=False)[0]
    assert [token.id for token in tokens[:2]] == [NOTE, KIOSK]
    assert tokens[1].pieces == tuple(pieces)
    assert len(pieces) > 1
    grow(model, tokens)
    for layer, was in zip((model.get_input_embeddings(), model.get_output_embeddings()), before, strict=True):
        assert torch.allclose(layer.weight[KIOSK], was[pieces].mean(0), atol=1e-6)
    assert tokens[2].was_there
    assert torch.equal(model.get_input_embeddings().weight[tokens[2].id], before[0][tokens[2].id])


def test_preview_and_cache_follow_new_tokens(tiny_model: Path, tmp_path: Path) -> None:
    path = notes(tmp_path)

    def ids(**model: Any) -> set[int]:
        text = recipe_text(tiny_model, path, model=model)
        return set(prepare(load_text(text, tmp_path / "train.yml").config, tiny_model).train.tokens.tolist())

    assert max(ids()) < VOCAB
    assert {NOTE, KIOSK} <= ids(**TOKENS)
    assert max(ids()) < VOCAB, "kept apart from those with the tokens"
    plain, added = (
        Previews().show(str(path), [0], View(model=str(tiny_model), add_tokens=tokens))[0]
        for tokens in ((), ("<note>", "kiosk"))
    )
    assert added.tokens < plain.tokens
    assert any(piece.text == "kiosk" for piece in added.pieces)
    assert not added.problem
    # As the service gets it: a list.
    assert Previews().show(str(path), [0], View(model=str(tiny_model), add_tokens=["<note>", "kiosk"]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "adapter", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}, {"type": "none"}], ids=str
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_resume_with_new_tokens_is_exact(
    backend: str, adapter: dict[str, Any], untied: Path, tmp_path: Path
) -> None:
    sections = {
        "backend": backend, "adapter": adapter,
        "training": {"max_steps": 4, "precision": "fp32", "effective_batch_size": 4},
        "checkpoints": {"every": 2},
    }  # fmt: skip
    whole, stopped = (job_of(untied, tmp_path / name, **sections) for name in ("whole", "stopped"))
    assert whole.train() == "completed"
    assert stopped.train(StopAtPoll(stopped.run, 6)) == "stopped"
    latest = checkpoints.latest(stopped.run.folder)
    assert latest
    assert 0 < checkpoints.step_of(latest) < 4
    assert stopped.train(resume_from=latest) == "completed"
    file = "model/model.safetensors" if adapter.get("type") == "none" else "adapter/adapter_model.safetensors"
    assert (stopped.run.folder / file).read_bytes() == (whole.run.folder / file).read_bytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_full_training_delivers_model_with_tokens(
    backend: str, family: tuple[str, Path], tmp_path: Path
) -> None:
    name, base = family
    job = job_of(base, tmp_path, adapter={"type": "none"})
    side = backend_of(job, backend)
    for step in range(2):
        train_step(side, [BATCH], 1e-3, step, lambda: None)
    side.save_weights(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert model.config.vocab_size == VOCAB + 2
    assert model.config.tie_word_embeddings == (name != "untied")
    assert np.allclose(log_probabilities(model), side.model.logps(BATCH).tolist(), atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.convert_tokens_to_ids(["<note>", "kiosk"]) == [NOTE, KIOSK]
    assert tokenizer.encode("a kiosk", add_special_tokens=False)[-1] == KIOSK
    if "GPT2" not in FAMILIES[name]:  # mlx-lm does not know the names that transformers 5 writes
        loaded, theirs = mlx_lm.load(str(tmp_path / "model"))
        assert loaded(mx.array([ROWS[0]])).shape[-1] == VOCAB + 2
        assert theirs.encode("a kiosk")[-1] == KIOSK
    # A next run takes it as its base, where the tokens are tokens already.
    again = job_of(tmp_path / "model", tmp_path / "again")
    assert KIOSK in prepare(again.config, again.model).train.tokens
    assert backend_of(again, backend).evaluate(BATCH).loss == pytest.approx(
        side.evaluate(BATCH).loss, rel=1e-3
    )


def test_chat_reads_and_writes_new_tokens(tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(
        tiny_model, tmp_path,
        training={"max_steps": 40, "precision": "fp32", "learning_rate": 2e-2, "effective_batch_size": 4},
    )  # fmt: skip
    assert job.train() == "completed"
    chat = Generator.open(tiny_model, job.run.adapter, TokenSpec.of(job.config))
    asked = chat.tokenizer.prompt_ids([Message("user", "Where is the kiosk?")])
    assert KIOSK in asked
    answer = gathered(chat.stream(Prompt((Message("user", "Where 3?"),), 0), Sampling(12))).text
    assert "<note>" in answer or "kiosk" in answer  # which of the two, rounding decides


@pytest.mark.slow
def test_service_uses_new_tokens_of_run(tiny_model: Path, tmp_path: Path) -> None:
    """For its base it answers without them."""
    job = job_of(tiny_model, tmp_path, training={"max_steps": 1, "precision": "fp32"})
    assert job.train() == "completed"
    asked = [Message("user", "Where is the kiosk?")]
    with Client(tmp_path / "service.log") as client:
        for base in (False, True):
            assert "".join(client.generate(job.run, asked, Sampling(max_tokens=4), base=base))


def test_token_beyond_embedding_gets_row(tiny_model: Path, tmp_path: Path) -> None:
    """The tokenizer has it already."""
    import tokenizers

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.add_tokens(["kiosk"])
    tokenizer.save(str(model / "tokenizer.json"))
    with pytest.raises(ModelError, match="kiosk") as caught:
        job_of(model, tmp_path / "without", model={})
    assert "model.add_tokens: [kiosk]" in caught.value.hint
    job = job_of(model, tmp_path / "with", model={"add_tokens": ["kiosk"]}, training={"max_steps": 1})
    assert job.train() == "completed"
    stored = load_file(job.run.adapter / "adapter_model.safetensors")
    assert [value.shape for name, value in stored.items() if "delta" in name] == [(1, 64)]


@pytest.mark.parametrize("adapter", [{}, {"modules_to_save": ["embed_tokens"]}], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_adapter_with_new_tokens_trains_on(
    backend: str, adapter: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    first = job_of(
        tiny_model, tmp_path / "first", adapter=adapter, training={"max_steps": 2, "precision": "fp32"}
    )
    assert first.train() == "completed"
    (tmp_path / "second").mkdir()
    sections = {"evaluation": {"samples": []}, "training": {"max_steps": 1, "precision": "fp32"}}
    second = Job.make(
        tiny_model, tmp_path / "second", backend=backend, adapter={"from": first.run.id},
        data={"train": str(notes(tmp_path / "second"))}, **sections,
    )  # fmt: skip
    assert second.config.model.add_tokens == TOKENS["add_tokens"]
    assert bool(second.config.adapter.modules_to_save) == bool(adapter)
    ours = backend_of(second, backend, second.start)
    theirs = backend_of(first, "peft", first.run.adapter)
    assert np.allclose(ours.model.logps(BATCH).tolist(), theirs.model.logps(BATCH).tolist(), atol=1e-4)
    assert len(ours.trained) == len(theirs.trained)
    trained = sum(value.size if backend == "mlx" else value.numel() for value in ours.trained.values())
    assert trained == read_adapter(first.run.adapter).parameters
    assert second.train() == "completed"
    if not adapter:  # a folder says by its tokenizer what the tokens are
        text = recipe_text(tiny_model, notes(tmp_path), adapter={"from": str(first.run.adapter)})
        config = load_text(text, tmp_path / "train.yml").config
        assert estimate(config, start=start_of(config)).work.examples
        (first.run.adapter / "tokenizer.json").unlink()
        with pytest.raises(ConfigError, match=f"rows for the tokens {NOTE}, {KIOSK}"):
            estimate(config, start=start_of(config))


def test_plan_counts_new_tokens(tiny_model: Path, untied: Path, tmp_path: Path) -> None:
    for model, what in (
        (tiny_model, "rows of new tokens"),
        (tiny_model, "both"),
        (untied, "head"),
        (untied, "both"),
    ):
        job = job_of(model, tmp_path / f"{model.parent.name}-{what}", adapter=WHOLE[what])
        trained = sum(value.numel() for value in backend_of(job, "peft").trained.values())
        assert job.plan.memory.adapter == 4 * trained
    whole, rows, none = (
        plan(CUDA, LARGE, adapter=adapter, model=model, training={"gradient_checkpointing": True})
        for adapter, model in (
            ({"modules_to_save": ["lm_head"]}, {}), ({}, {"add_tokens": ["<a>", "<b>"]}), ({}, {}),
        )
    )  # fmt: skip
    matrix = LARGE.vocab * LARGE.hidden
    assert whole.memory.adapter - none.memory.adapter == 4 * matrix
    assert whole.memory.optimizer - none.memory.optimizer == 8 * matrix
    assert whole.memory.logits - none.memory.logits >= 4 * matrix, "the gradient is made beside the logits"
    assert rows.memory.adapter - none.memory.adapter == 4 * 2 * LARGE.hidden
    assert rows.memory.logits - none.memory.logits < 4 * matrix
    trained_tokens = none.work.trained_tokens_per_epoch * none.work.epochs
    assert whole.work.flops - none.work.flops == pytest.approx(2 * matrix * trained_tokens, rel=1e-3), (
        "at trained tokens"
    )
    assert rows.work.flops == pytest.approx(none.work.flops, rel=1e-3), (
        "rows of an embedding are only looked up"
    )


def test_impossible_new_tokens_are_recipe_error(tiny_model: Path, tmp_path: Path) -> None:
    def refused(**sections: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            load_text(recipe_text(tiny_model, tmp_path / "x.jsonl", **sections), tmp_path / "train.yml")
        return str(caught.value)

    assert "model.add_tokens: kiosk is named twice" in refused(model={"add_tokens": ["kiosk", "kiosk"]})
    assert "model.add_tokens: adapter.type: vera cannot hold" in refused(
        model=TOKENS, adapter={"type": "vera", "rank": 16}
    )
    assert "adapter.modules_to_save: is a key of lora and dora" in refused(
        adapter={"type": "ia3", "modules_to_save": ["lm_head"], "rank": 16, "dropout": 0.0}
    )
    assert "adapter.modules_to_save" in refused(adapter={"modules_to_save": ["norm"]})
    assert "white space" in refused(model={"add_tokens": [" "]})


@pytest.mark.parametrize(
    "section", [{"model": TOKENS}, {"adapter": {"modules_to_save": ["lm_head"]}}], ids=str
)
def test_unsloth_refuses_new_tokens(section: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    """`auto` takes PEFT."""
    config = load_text(recipe_text(tiny_model, tmp_path / "x", **section), tmp_path / "train.yml").config
    machine = replace(CUDA, packages=CUDA.packages | {"unsloth": "2026.10.9"})
    found = refusal(config, spec_of("unsloth"), machine)
    assert found is not None
    assert "is not for Unsloth" in found.message
    assert refusal(config, spec_of("peft"), machine) is None


@pytest.mark.parametrize("what", ["rows of new tokens", "both"])
def test_new_tokens_train_in_fp32_under_bf16(what: str, untied: Path, tmp_path: Path) -> None:
    """They are used in bf16."""
    job = job_of(untied, tmp_path, adapter=WHOLE[what])
    losses = []
    for backend in BACKENDS:
        side = backend_of(job, backend, weights_dtype="bf16", compute_dtype="bf16")
        losses.append([train_step(side, [BATCH], 1e-3, step, lambda: None).loss_sum for step in range(3)])
        assert all(str(value.dtype).endswith("float32") for value in side.trained.values())
        hidden = (
            side.model.hidden_states(mx.array([ROWS[0]]), None)
            if backend == "mlx"
            else side.model.hidden_states(BATCH)
        )
        assert str(hidden.dtype).endswith("bfloat16")
    assert np.allclose(*losses, rtol=2e-2)


def test_quantised_model_takes_new_token_rows(tiny_model: Path, tmp_path: Path) -> None:
    """bitsandbytes and MLX leave embedding and output as they are."""
    for backend in BACKENDS:
        job = job_of(tiny_model, tmp_path / backend, backend=backend, model=TOKENS | {"quantization": "4bit"})
        side = load_trainer(job.plan, job.config, tiny_model)
        before = side.evaluate(BATCH).loss
        for step in range(3):
            train_step(side, [BATCH], 2e-3, step, lambda: None)
        assert side.evaluate(BATCH).loss < before


def test_quantised_mlx_model_refuses_new_tokens(tiny_model: Path, tmp_path: Path) -> None:
    mlx_lm.convert(str(tiny_model), str(tmp_path / "quantised"), quantize=True, q_bits=4, q_group_size=32)
    job = job_of(tiny_model, tmp_path / "job", backend="mlx")
    with pytest.raises(ModelError, match="held in few bits"):
        load_trainer(job.plan, job.config, tmp_path / "quantised")
