"""Answers through either backend: the same words, greedily and drawn, of the base and of an adapter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.backend_spec import spec_of
from engine.backends.sampling import Sampler
from engine.data.batching import batch_of_rows
from engine.data.types import Message, Prompt, Sampling
from engine.hardware.probe import Machine, probe
from engine.inference.answer import gathered
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
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(8),
        Sampling(8, 1.5),
        Sampling(8, 2.0, top_p=0.8, top_k=20, min_p=0.0),
        Sampling(8, repetition_penalty=1.5),
        Sampling(8, 1.2, repetition_penalty=1.3),
    ],
)
def test_mlx_gives_same_answer_as_torch(
    tiny_model: Path, adapter: Path, trained: bool, sampling: Sampling
) -> None:
    chosen = adapter if trained else None
    theirs, ours = (Generator.open(tiny_model, chosen, backend=spec_of(backend)) for backend in BACKENDS)
    one, other = (chat.answers(prompts(3), sampling, lambda: None) for chat in (theirs, ours))
    assert one == other
    for chat in (theirs, ours):
        streamed = [gathered(chat.stream(prompt, sampling)).text for prompt in prompts(3)]
        assert streamed == [answer.text for answer in other]
    batch = batch_of_rows(ROWS)
    assert np.allclose(theirs.model.logps(batch), ours.model.logps(batch), atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_seed_fixes_answer_beside_others(tiny_model: Path, backend: str) -> None:
    chat = Generator.open(tiny_model, None, backend=spec_of(backend))
    hot = Sampling(8, 2.0)
    first, second = chat.answers(prompts(), hot, lambda: None)
    assert chat.answers(prompts()[1:], hot, lambda: None) == [second]
    assert chat.answers(prompts(7)[:1], hot, lambda: None) != [first]


@pytest.mark.parametrize("backend", BACKENDS)
def test_greedy_and_drawn_rows_answer_as_alone(tiny_model: Path, backend: str) -> None:
    """Rows of one batch with settings of their own, as a server has them."""
    chat = Generator.open(tiny_model, None, backend=spec_of(backend))
    asked = [chat.tokenizer.prompt_ids(prompt.messages) for prompt in (*prompts(), *prompts())]
    rows = (
        Sampling(),
        Sampling(temperature=1.5, seed=4),
        Sampling(repetition_penalty=2.0),
        Sampling(temperature=3.0),
    )
    together = chat.model.generate(asked, 8, chat.tokenizer.stop_ids, lambda: None, Sampler(rows))
    for ids, row, answer in zip(asked, rows, together, strict=True):
        assert [*chat.model.stream(ids, 8, chat.tokenizer.stop_ids, Sampler((row,)))] == answer
    assert len({tuple(answer) for answer in together[::2]}) == 2, "the penalty changes a greedy answer"


@pytest.mark.parametrize("backend", BACKENDS)
def test_stop_text_ends_answer_and_is_left_out(tiny_model: Path, backend: str) -> None:
    chat = Generator.open(tiny_model, None, backend=spec_of(backend))
    hot = Sampling(24, 1.0)
    (prompt, _) = prompts(5)
    whole = gathered(chat.stream(prompt, hot))
    assert whole.end is not None
    assert whole.end.tokens == 24
    stop = whole.text[5:8]  # bytes of this model's vocabulary: a token is one character or less
    stopped = gathered(chat.stream(prompt, replace(hot, stop=("never", stop))))
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.end is not None
    assert stopped.end.finish == "stop"
    assert stopped.end.tokens < 24
    (completion,) = chat.answers([prompt], replace(hot, stop=(stop,)), lambda: None)
    assert (completion.text, completion.ended) == (stopped.text, True)


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
