"""Answers through either backend: the same words, greedily and drawn, of the base and of an adapter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.backend_spec import spec_of
from engine.data.batching import batch_of_rows
from engine.data.types import Message, Prompt
from engine.hardware.probe import Machine, probe
from engine.inference.generation import Generator
from engine.inference.placement import answering
from tests.training import Job, batch_of, train_step

ROWS = [[1, 5, 6, 7, 8, 2], [1, 5, 9, 4, 2]]
ASKED = ("Say fox.", "Say bird 3 times.")
BACKENDS = ("peft", "mlx")


def prompts(seed: int = 0) -> list[Prompt]:
    return [Prompt((Message("user", text),), seed + place) for place, text in enumerate(ASKED)]


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    trainer = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0}).backend()
    for seed in range(8):
        train_step(trainer, [batch_of(ROWS, packed=False)], 2e-2, seed, lambda: None)
    trainer.save_weights(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("trained", [False, True])
def test_mlx_gives_same_answer_as_torch(tiny_model: Path, adapter: Path, trained: bool) -> None:
    chosen = adapter if trained else None
    theirs, ours = (Generator.open(tiny_model, chosen, backend=spec_of(backend)) for backend in BACKENDS)
    for temperature in (0.0, 1.5):
        one, other = (chat.answers(prompts(3), 8, temperature, lambda: None) for chat in (theirs, ours))
        assert one == other
        streamed = ["".join(ours.stream(prompt, 8, temperature)) for prompt in prompts(3)]
        assert streamed == [answer.text for answer in other]
    batch = batch_of_rows(ROWS)
    assert np.allclose(theirs.model.logps(batch), ours.model.logps(batch), atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_seed_fixes_answer_beside_others(tiny_model: Path, backend: str) -> None:
    chat = Generator.open(tiny_model, None, backend=spec_of(backend))
    first, second = chat.answers(prompts(), 8, 2.0, lambda: None)
    assert chat.answers(prompts()[1:], 8, 2.0, lambda: None) == [second]
    assert chat.answers(prompts(7)[:1], 8, 2.0, lambda: None) != [first]


def test_mac_answers_with_mlx_if_supported(
    tiny_model: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX has to support the model and the adapter."""
    here = probe()
    assert answering(tiny_model, adapter).name == ("mlx" if here.device == "mps" else "peft")
    monkeypatch.setattr("engine.inference.placement.probe", lambda: mac(here, frozenset(("llama",))))
    assert answering(tiny_model, None).name == "mlx"
    assert answering(tiny_model, adapter).name == "mlx"
    settings = adapter / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"LORA"', '"IA3"'))
    assert answering(tiny_model, adapter).name == "peft", "MLX holds LoRA and DoRA alone"
    monkeypatch.setattr("engine.inference.placement.probe", lambda: mac(here, frozenset()))
    assert answering(tiny_model, None).name == "peft", "mlx-lm does not know the architecture"


def mac(machine: Machine, known: frozenset[str]) -> Machine:
    packages = {**machine.packages, "mlx_lm": "0.32.2"}
    return replace(machine, device="mps", packages=packages, mlx_architectures=known)
