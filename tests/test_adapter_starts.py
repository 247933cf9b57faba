"""`adapter.init`: each start is what PEFT calls by its name, the same on torch and MLX, and serves as a plain LoRA."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from engine.backend_spec import spec_of
from engine.backends import load_trainer
from engine.backends.adapter_init import Layer, draw_start
from engine.backends.base import Trainer
from engine.backends.mlx.trainer import MlxTrainer
from engine.backends.torch.spec import INITS
from engine.errors import CheckpointError, ConfigError
from tests.tiny import make_family
from tests.training import Job, batch_of, train_step

ROWS = [[3, 40, 50, 60, 70, 80], [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
BATCH = batch_of(ROWS, packed=False)
DRAWN = [start for start in INITS if start != "default"]
KINDS: dict[str, dict[str, Any]] = {
    **{start: {"init": start} for start in DRAWN},
    "pissa, rslora": {"init": "pissa", "rslora": True},
    "dora, pissa": {"init": "pissa", "type": "dora"},
    "dora, olora": {"init": "olora", "type": "dora"},
}
GPT2 = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
FILES = ("adapter_model.safetensors", "adapter_config.json")


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """Run without mx.compile, which calls the C++ compiler for every new shape."""
    mx.disable_compile()
    yield
    mx.enable_compile()


def job_of(base: Path, folder: Path, /, **adapter: Any) -> Job:
    return Job.make(base, folder, adapter={"dropout": 0.0, "rank": 4, **adapter})


def backend_of(job: Job, name: str, adapter: Path | None = None, **changes: Any) -> Any:
    fp32 = {"weights_dtype": "fp32", "compute_dtype": "fp32", "packing": True}
    return load_trainer(
        job.plan.changed(backend=name, **(fp32 | changes)), job.config, job.model, adapter=adapter
    )


def train(backend: Trainer, first: int = 0, last: int = 8) -> list[float]:
    return [train_step(backend, [BATCH], 1e-2, seed, lambda: None).loss_sum for seed in range(first, last)]


def in_peft(model: Path, adapter: Path) -> list[float]:
    """Log-probabilities of `ROWS` by transformers and PEFT, with nothing of ours."""
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(base, str(adapter)).eval()
    values = []
    for row in ROWS:
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        values += [float(logits[i - 1, row[i]]) for i in range(1, len(row))]
    return values


def matrix_layer(weight: np.ndarray[Any, np.dtype[np.float32]], rank: int) -> Layer:
    return Layer(
        rank, weight.shape[1], weight.shape[0], lambda: (lambda x: weight @ x, lambda y: weight.T @ y)
    )


def random_matrix(outputs: int, inputs: int, decay: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A matrix whose singular values are the powers of `decay`."""
    draw, size = np.random.default_rng(5), min(outputs, inputs)
    left, right = (np.linalg.qr(draw.standard_normal((n, size)))[0] for n in (outputs, inputs))
    return np.asarray((left * decay ** np.arange(size)) @ right.T, dtype=np.float32)


def only(layer: Layer, init: str, scale: float = 1.0) -> tuple[Any, Any]:
    ((_, a, b),) = draw_start({"layer": layer}, init, 0, scale, layer.rank)
    return a, b


# What each is


def test_pissa_adapter_is_principal_part_of_weights() -> None:
    """Shared evenly between its two factors."""
    weight, scale = random_matrix(48, 80, 0.7), 2.0
    a, b = only(matrix_layer(weight, 6), "pissa", scale)
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    assert np.allclose(scale * b @ a, (left[:, :6] * values[:6]) @ right[:6], atol=1e-5)
    assert np.allclose(scale * a @ a.T, np.diag(values[:6]), atol=1e-5)
    assert np.allclose(scale * b.T @ b, np.diag(values[:6]), atol=1e-5)


def test_orthogonal_adapter_changes_no_answer() -> None:
    """It has no zeros."""
    a, b = only(matrix_layer(random_matrix(48, 80, 0.9), 6), "orthogonal")
    assert np.abs(b @ a).max() < 1e-6
    assert min(np.abs(a).mean(), np.abs(b).mean()) > 0.01


@pytest.mark.parametrize("init", ["olora", "gaussian", "orthogonal"])
def test_adapter_start_size_matches_peft(init: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, init=init)
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    torch.manual_seed(0)
    theirs = peft.get_peft_model(
        base, peft.LoraConfig(r=4, lora_alpha=job.config.adapter.alpha, init_lora_weights=init,
                              target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    ours = backend_of(job, "peft").model.network
    values: dict[str, list[torch.Tensor]] = {"lora_A": [], "lora_B": []}
    for (name, one), (other_name, other) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == other_name
        if init == "olora":
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        elif factor := next((part for part in values if part in name), None):
            values[factor].append(torch.stack([one.std(), other.std()]).detach())
        else:
            assert torch.equal(one, other), "these take nothing out of the weights"
    for sizes in filter(None, values.values()):
        mine, its = torch.stack(sizes).mean(0)
        assert mine.item() == pytest.approx(its.item(), rel=0.05)


# The same everywhere


@pytest.mark.parametrize("kind", KINDS)
def test_seed_gives_same_adapter_on_both_backends(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    """The backends are torch and MLX."""
    job = job_of(tiny_model, tmp_path, **KINDS[kind])
    one, other = (backend_of(job, name) for name in ("peft", "mlx"))
    same_start(one, other)
    assert np.allclose(train(one, last=4), train(other, last=4), rtol=1e-3)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_adapter_starts_from_transposed_gpt2_weights(init: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model", tiny_model, "GPT2", GPT2)
    job = job_of(folder, tmp_path, init=init)
    one, other = (backend_of(job, name) for name in ("peft", "mlx"))
    same_start(one, other)
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        loss = sum(
            float(base(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss) * (len(row) - 1)
            for row in ROWS
        )
    for backend, name in ((one, "peft"), (other, "mlx")):
        assert backend.evaluate(BATCH).loss == pytest.approx(loss, rel=1e-4), "it starts as the model was"
        train(backend)
        backend.save_weights(tmp_path / name)
        assert np.allclose(backend.model.logps(BATCH).tolist(), in_peft(folder, tmp_path / name), atol=1e-3)


def same_start(one: Any, other: MlxTrainer) -> None:
    """Assert that every trained weight of the torch and the MLX backend is the same."""
    assert other.model.adapter is not None
    theirs = {
        name.removeprefix("base_model.model.").replace(".default", "").removesuffix(".weight"): value
        for name, value in one.trained.items()
    }
    assert len(theirs) == len(other.trained)
    for path, value in other.trained.items():
        layer, _, name = path.rpartition(".")
        name = {"magnitude": "lora_magnitude_vector"}.get(name, name)
        if other.model.about["model_type"] == "gpt2":
            layer = layer.replace("model.", "transformer.", 1)
        wanted = theirs[f"{layer}.{name}"].detach().numpy()
        assert np.allclose(value, wanted, rtol=1e-3, atol=1e-5), path


# On MLX, as tests/test_adapters.py has it for torch


@pytest.mark.parametrize("kind", KINDS)
def test_mlx_adapter_learns_and_loads_in_peft(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, **KINDS[kind])
    untouched = backend_of(job_of(tiny_model, tmp_path), "mlx").evaluate(BATCH).loss
    backend = backend_of(job, "mlx")
    assert backend.evaluate(BATCH).loss == pytest.approx(untouched, rel=1e-5), "it starts as the model was"
    losses = train(backend)
    assert losses[-1] < losses[0] - 1
    backend.save_weights(tmp_path / "adapter")
    ours = backend.model.logps(BATCH).tolist()
    assert np.allclose(ours, in_peft(tiny_model, tmp_path / "adapter"), atol=1e-4)
    for name in ("mlx", "peft"):
        again = backend_of(job, name, tmp_path / "adapter")
        assert np.allclose(ours, again.model.logps(BATCH).tolist(), atol=1e-4)
    ranks = {
        value.shape[0] for name, value in load_file(tmp_path / "adapter" / FILES[0]).items() if "_A" in name
    }
    assert ranks == {8 if KINDS[kind]["init"] in ("pissa", "olora") else 4}


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_mlx_adapter_has_same_bytes(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, **(KINDS[kind] | {"dropout": 0.1}))
    whole, first, second = (backend_of(job, "mlx") for _ in range(3))
    train(whole)
    train(first, last=3)
    first.save_state(tmp_path)
    second.load_state(tmp_path)
    train(second, first=3)
    for backend, name in ((whole, "whole"), (second, "parts")):
        backend.save_weights(tmp_path / name)
    for file in FILES:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


@pytest.mark.parametrize("kind", ["pissa", "dora, pissa"])
def test_mlx_pissa_adapter_survives_other_arithmetic(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    """As on another machine, whose arithmetic rounds in another way."""
    job = job_of(tiny_model, tmp_path, **KINDS[kind])
    first = backend_of(job, "mlx")
    train(first, last=3)
    first.save_state(tmp_path)
    job.config = job.config.model_copy(update={"seed": 7})
    second = backend_of(job, "mlx")
    second.load_state(tmp_path)
    assert np.allclose(first.model.logps(BATCH).tolist(), second.model.logps(BATCH).tolist(), atol=1e-4)
    assert train(first, 3, 5) == pytest.approx(train(second, 3, 5), rel=1e-4)


def test_half_precision_adapter_serves_as_trained(tiny_model: Path, tmp_path: Path) -> None:
    backend = backend_of(
        job_of(tiny_model, tmp_path, init="pissa"), "mlx", weights_dtype="bf16", compute_dtype="bf16"
    )
    losses = train(backend)
    assert losses[-1] < losses[0] - 1
    backend.save_weights(tmp_path / "adapter")
    assert np.allclose(
        backend.model.logps(BATCH).tolist(), in_peft(tiny_model, tmp_path / "adapter"), atol=0.3
    )


# What cannot be


@pytest.mark.parametrize("name", ["peft", "mlx"])
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_adapter_rank_beyond_layer_is_refused(init: str, name: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, init=init, rank=40)
    with pytest.raises(ConfigError, match=r"adapter.rank: 40 is more than .* 32 by 64"):
        backend_of(job, name)


def test_mlx_quantised_model_refuses_pissa_adapter(tiny_model: Path, tmp_path: Path) -> None:
    """It has no weights to take a start out of."""
    from mlx_lm.convert import convert

    convert(str(tiny_model), str(tmp_path / "mlx"), quantize=True, q_bits=8, q_group_size=32)
    job = job_of(tiny_model, tmp_path, init="pissa")
    job.model = tmp_path / "mlx"
    with pytest.raises(ConfigError, match=r"adapter.init: pissa takes its start out of the weights"):
        backend_of(job, "mlx")


def test_checkpoint_of_other_start_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    backend_of(job_of(tiny_model, tmp_path, init="pissa"), "mlx").save_state(tmp_path)
    with pytest.raises(CheckpointError, match="other weights"):
        backend_of(job_of(tiny_model, tmp_path), "mlx").load_state(tmp_path)


def test_every_adapter_start_is_tested() -> None:
    mlx = spec_of("mlx").devices["cpu"].inits
    assert set(mlx) == set(INITS) == {"default", *(about["init"] for about in KINDS.values())}
