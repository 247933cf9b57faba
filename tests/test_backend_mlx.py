"""The MLX backend on a real tiny model: the same learning whether packed, quantised, recomputed or chunked."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import peft
import pytest
import torch
import transformers
from mlx import nn
from mlx.utils import tree_flatten

from engine.backends import load_trainer
from engine.backends.base import Interrupted
from engine.backends.mlx import loss as head
from engine.backends.mlx.trainer import MlxTrainer
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, ModelError
from engine.objectives.sft import Supervised
from tests.tiny import make_family
from tests.training import Job, batch_of, interrupt_at_second, train_step

ROWS = [[3, 40, 50, 60, 70, 80], [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
BATCHES = [batch_of(ROWS[:1], packed=False), batch_of(ROWS[1:], packed=True)]


def quiet() -> None:
    """A poll with nothing to say."""


@pytest.fixture(autouse=True)
def uncompiled(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run without mx.compile, unless a test is marked for it: it calls the C++ compiler for every new shape."""
    if "compiled" in request.fixturenames:
        yield
        return
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture
def compiled() -> None:
    """With mx.compile, as a run has it."""


def adapted(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.model_copy(update={"adapter": config.adapter.model_copy(update=changes)})


def mlx(job: Job, adapter: Path | None = None, **changes: Any) -> MlxTrainer:
    plan = {"backend": "mlx", "weights_dtype": "fp32", "compute_dtype": "fp32", "packing": True} | changes
    backend = load_trainer(job.plan.changed(**plan), job.config, job.model, adapter=adapter)
    assert isinstance(backend, MlxTrainer)
    return backend


@pytest.fixture
def job(tiny_model: Path, tmp_path: Path) -> Job:
    return Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})


def in_peft(backend: MlxTrainer, folder: Path) -> Any:
    """The saved adapter in PEFT, trainable."""
    backend.save_weights(folder)
    base = transformers.AutoModelForCausalLM.from_pretrained(backend.model.folder, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(base, str(folder), is_trainable=True)


def loss_in_peft(model: Any) -> Any:
    """Summed loss of `ROWS`."""
    return sum(
        model(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss * (len(row) - 1) for row in ROWS
    )


def same(one: dict[str, mx.array], other: dict[str, mx.array], **tolerance: float) -> bool:
    return one.keys() == other.keys() and all(np.allclose(one[n], other[n], **tolerance) for n in one)


def test_packed_rows_learn_as_padded_ones(job: Job) -> None:
    results = []
    for packed in (True, False):
        backend = mlx(job)
        assert backend.model.supports_packing
        step = train_step(backend, [batch_of(ROWS, packed)], 1e-2, 0, quiet)
        results.append((step, backend.trained, backend.model.logps(batch_of(ROWS, packed))))
    (one, weights, says), (other, others, said) = results
    assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-5)
    assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
    assert same(weights, others, rtol=1e-3, atol=1e-5)
    assert np.allclose(says, said, atol=1e-4)


def test_accumulated_micro_batches_match_one_batch(job: Job, compiled: None) -> None:
    whole, parts = mlx(job), mlx(job)
    one = train_step(whole, [batch_of(ROWS, packed=True)], 1e-2, 0, quiet)
    other = train_step(parts, BATCHES, 1e-2, 0, quiet)
    assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-5)
    assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
    assert same(whole.trained, parts.trained, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("settings", [{"type": "lora"}, {"type": "dora"}, {"rslora": True}], ids=str)
def test_gradients_match_peft(tiny_model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0, **settings})
    backend = mlx(job)
    for step in range(3):
        train_step(backend, BATCHES, 1e-2, step, quiet)
    model = in_peft(backend, tmp_path / "adapter")
    loss = loss_in_peft(model)
    loss.backward()
    batch = [batch_of(ROWS, packed=True)]
    tokens = Supervised().normaliser(batch)
    assert tokens == sum(map(len, ROWS)) - len(ROWS)
    gradients, ours, _ = backend._accumulate(batch, tokens, 0, quiet)
    assert ours == pytest.approx(loss.item(), rel=1e-4)
    theirs = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert len(gradients) == len(theirs)
    for path, gradient in gradients.items():
        layer, _, name = path.rpartition(".")
        name = {"magnitude": "lora_magnitude_vector"}.get(name, name)
        wanted = theirs[f"base_model.model.{layer}.{name}.default.weight"]
        assert np.allclose(np.array(gradient) * tokens, wanted, rtol=1e-3, atol=1e-4), path


FORMATS = {
    "bf16": ({}, {"weights_dtype": "bf16", "compute_dtype": "bf16"}),
    "fp16": ({}, {"weights_dtype": "fp16", "compute_dtype": "fp16"}),
    "checkpointing": ({}, {"gradient_checkpointing": True}),
    "8bit": ({"model": {"quantization": "8bit"}}, {}),
    "4bit": ({"model": {"quantization": "4bit"}}, {}),
    "4bit, bf16": (
        {"model": {"quantization": "4bit"}},
        {"weights_dtype": "bf16", "compute_dtype": "bf16"},
    ),
    "full": ({"adapter": {"type": "none"}}, {}),
    "full, bf16 products": ({"adapter": {"type": "none"}}, {"compute_dtype": "bf16"}),
    "two targets": ({"adapter": {"target_modules": ["q_proj", "v_proj"]}}, {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_weight_format_learns(tiny_model: Path, tmp_path: Path, name: str) -> None:
    sections, changes = FORMATS[name]
    backend = mlx(Job.make(tiny_model, tmp_path, **sections), **changes)
    losses = []
    for step in range(12):
        result = train_step(backend, BATCHES, 5e-3, step, quiet)
        losses.append(result.loss)
        assert np.isfinite(result.grad_norm)
    assert losses[-1] < losses[0] - 0.1
    assert all(value.dtype == mx.float32 for value in backend.trained.values()), "masters keep fp32"


@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_dora_adapter_learns(tiny_model: Path, tmp_path: Path, quantization: str) -> None:
    adapter = {"type": "dora", "dropout": 0.2}
    job = Job.make(tiny_model, tmp_path, model={"quantization": quantization}, adapter=adapter)
    backend = mlx(job, gradient_checkpointing=True)
    losses = [train_step(backend, BATCHES, 5e-3, step, quiet).loss_sum for step in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_gradient_checkpointing_changes_only_memory(tiny_model: Path, tmp_path: Path, compiled: None) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.2})
    plain, recomputed = mlx(job), mlx(job, gradient_checkpointing=True)
    for backend in (plain, recomputed):
        train_step(backend, BATCHES, 1e-2, 7, quiet)
    assert same(plain.trained, recomputed.trained, rtol=1e-4, atol=1e-6)


def test_only_the_seed_determines_dropout(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.5})
    results = []
    for seed, disturb in ((1, False), (1, True), (2, False)):
        backend = mlx(job)
        if disturb:
            mx.random.seed(99)
            backend.evaluate(BATCHES[0])
            backend.model.generate([[3, 4]], 2, {2}, quiet)
        train_step(backend, BATCHES, 1e-2, 0, quiet)  # B is zero before, and dropout without effect
        results.append(train_step(backend, BATCHES, 1e-2, seed, quiet))
    assert results[0] == results[1]
    assert results[0].grad_norm != results[2].grad_norm


def test_interrupted_step_leaves_weights_alone(job: Job) -> None:
    backend = mlx(job)
    before = dict(backend.trained)
    with pytest.raises(Interrupted):
        train_step(backend, BATCHES, 1e-2, 0, interrupt_at_second())
    assert all(backend.trained[path] is before[path] for path in before)


def test_nan_gradient_leaves_weights_alone(job: Job) -> None:
    backend = mlx(job)
    path, good = next((p, v) for p, v in backend.trained.items() if p.endswith("lora_A"))
    backend.trained[path] = good * float("nan")
    before = dict(backend.trained)
    assert np.isnan(train_step(backend, BATCHES, 1e-2, 0, quiet).grad_norm)
    assert all(backend.trained[path] is before[path] for path in before)
    backend.trained[path] = good
    assert np.isfinite(train_step(backend, BATCHES, 1e-2, 1, quiet).grad_norm)


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_chunked_logits_change_no_weights(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"type": adapter, "dropout": 0.0})
    results = []
    for size in (head.CHUNK_BYTES, 4 * 384 * 3):  # three positions a chunk
        monkeypatch.setattr(head, "CHUNK_BYTES", size)
        backend = mlx(job)
        train_step(backend, BATCHES, 1e-2, 0, quiet)
        results.append((backend.trained, backend.model.logps(BATCHES[1]).tolist()))
    assert same(results[0][0], results[1][0], rtol=1e-3, atol=1e-5)
    assert np.allclose(results[0][1], results[1][1], atol=1e-5)


def test_fully_trained_model_is_model_folder(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"type": "none"})
    backend = mlx(job)
    train_step(backend, BATCHES, 1e-3, 0, quiet)
    backend.save_weights(tmp_path / "model")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    with torch.no_grad():
        loss = loss_in_peft(plain).item()
    assert backend.evaluate(batch_of(ROWS, packed=False)).loss == pytest.approx(loss, rel=1e-4)


def test_mlx_quantised_model_trains(job: Job, tmp_path: Path) -> None:
    from mlx_lm.convert import convert

    convert(str(job.model), str(tmp_path / "mlx"), quantize=True, q_bits=8, q_group_size=32)
    plain = mlx(job).evaluate(BATCHES[0]).loss
    job.model = tmp_path / "mlx"
    backend = mlx(job)
    assert backend.model.plain_head
    assert backend.evaluate(BATCHES[0]).loss == pytest.approx(plain, rel=1e-2)
    losses = [train_step(backend, BATCHES, 5e-3, step, quiet).loss_sum for step in range(8)]
    assert losses[-1] < 0.95 * losses[0]
    job.config = adapted(job.config, type="none")
    with pytest.raises(ModelError, match="few bits"):
        mlx(job)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_mlx_lm_adapter_is_read(job: Job, tmp_path: Path, kind: str) -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load_model

    model, _ = load_model(job.model)
    model.freeze()
    settings = {"rank": 4, "scale": 3.0, "dropout": 0.0, "keys": ["self_attn.q_proj", "mlp.down_proj"]}
    linear_to_lora_layers(model, 1, settings, use_dora=kind == "dora")
    values = {
        path: value + 0.05 * mx.random.normal(value.shape, key=mx.random.key(len(path)))
        for path, value in tree_flatten(model.trainable_parameters())
    }
    model.load_weights(list(values.items()), strict=False)
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), values)
    about = {"fine_tune_type": kind, "num_layers": 1, "lora_parameters": settings}
    (tmp_path / "adapter_config.json").write_text(json.dumps(about))
    backend = mlx(job, adapter=tmp_path)
    row = mx.array([ROWS[1]])
    assert np.allclose(backend.model.logits(row), model(row), atol=1e-4)
    with torch.no_grad():
        theirs = in_peft(backend, tmp_path / "peft").eval()(torch.tensor([ROWS[1]])).logits
    assert np.allclose(theirs, np.array(model(row)), atol=1e-3)


def test_head_that_caps_logits_is_found(tiny_model: Path, tmp_path: Path) -> None:
    config = transformers.Gemma2Config(
        vocab_size=384, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=16, final_logit_softcapping=1.0,
        eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Gemma2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model.save_pretrained(tmp_path / "gemma2")
    job = Job.make(tiny_model, tmp_path)
    job.model = tmp_path / "gemma2"
    backend = mlx(job)
    assert not backend.model.plain_head
    plain = transformers.AutoModelForCausalLM.from_pretrained(
        job.model, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        loss = loss_in_peft(plain).item()
    assert train_step(backend, [batch_of(ROWS, packed=False)], 1e-3, 0, quiet).loss_sum == pytest.approx(
        loss, rel=1e-3
    )


def test_missing_target_modules_are_named(job: Job) -> None:
    job.config = adapted(job.config, target_modules=("wq",))
    with pytest.raises(ConfigError, match="wq"):
        mlx(job)


@pytest.fixture
def mixture(tiny_model: Path, tmp_path: Path) -> Path:
    """A tiny Qwen3-MoE: a dense layer, and one of four experts."""
    settings = {
        "head_dim": 16, "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2,
        "mlp_only_layers": [0],
    }  # fmt: skip
    return make_family(tmp_path / "mixture", tiny_model, "Qwen3Moe", settings)


@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_mixture_adapter_learns_beside_experts(mixture: Path, tmp_path: Path, quantization: str) -> None:
    backend = mlx(
        Job.make(mixture, tmp_path, model={"quantization": quantization}), gradient_checkpointing=True
    )
    losses = [train_step(backend, BATCHES, 2e-2, step, quiet).loss_sum for step in range(12)]
    assert losses[-1] < 0.95 * losses[0]
    names = {path.split(".")[-2] for path in backend.trained}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj"}
    router = backend.model.network.layers[1].mlp.gate
    assert type(router) is nn.Linear, "what routes to experts is held as it is"


@pytest.mark.parametrize("targets", [["q_proj", "gate_proj", "up_proj", "down_proj"], ["gate"]])
def test_named_experts_are_refused(mixture: Path, tmp_path: Path, targets: list[str]) -> None:
    job = Job.make(mixture, tmp_path)
    job.config = adapted(job.config, target_modules=targets)
    with pytest.raises(ConfigError, match=rf"{targets[-1]} .* mixture's experts.* does not train with MLX"):
        mlx(job)


def test_adapter_of_experts_is_refused(mixture: Path, tmp_path: Path) -> None:
    targets = ["q_proj", "gate_proj", "up_proj", "down_proj"]
    job = Job.make(mixture, tmp_path, adapter={"target_modules": targets, "dropout": 0.0})
    job.backend().save_weights(tmp_path / "adapter")
    with pytest.raises(ModelError, match="mixture's experts"):
        mlx(job, adapter=tmp_path / "adapter")


def test_full_training_of_mixture_is_refused(mixture: Path, tmp_path: Path) -> None:
    """MLX holds its weights unlike transformers."""
    with pytest.raises(ModelError, match=r"switch_mlp.* unlike transformers"):
        mlx(Job.make(mixture, tmp_path, adapter={"type": "none"}))


def test_unloadable_model_folder_says_so(job: Job, tmp_path: Path) -> None:
    job.model = tmp_path / "nothing"
    with pytest.raises(ModelError, match="nothing"):
        mlx(job)


def test_adapter_of_other_model_is_refused(job: Job, tmp_path: Path) -> None:
    backend = mlx(job)
    backend.save_weights(tmp_path / "adapter")
    layers = {
        path: {**values, "lora_A": values["lora_A"][:, :8]}
        for path, values in backend.model.adapter.layers.items()
    }
    other = replace(backend.model.adapter, layers=layers)
    trained = {path: value[:, :8] if path.endswith("A") else value for path, value in backend.trained.items()}
    other.save(trained, job.model, tmp_path / "adapter")
    with pytest.raises(ModelError, match="another model"):
        mlx(job, adapter=tmp_path / "adapter")
