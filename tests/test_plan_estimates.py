"""Memory that `ft plan` predicts for any rows on any machine."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.types import Examples
from engine.errors import DataError
from engine.hardware.probe import Machine
from engine.planning.backend_choice import choose_backend
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.row_stats import RowStats
from tests.plan_fixtures import CPU, CUDA, GB, LARGE, MPS, SMALL, flat, plan, planned, recipe, with_gpu


def test_quantised_weights_take_the_published_bits() -> None:
    parameters = LARGE.parameters - LARGE.embedding_parameters
    four = plan(CUDA, LARGE, model={"quantization": "4bit"}).memory.weights
    single = plan(CUDA, LARGE, model={"quantization": "4bit", "double_quant": False}).memory.weights
    assert single - four == pytest.approx(parameters * (4.5 - 4.127) / 8, rel=0.01)
    assert four - 2 * LARGE.embedding_parameters == pytest.approx(parameters * 4.127 / 8, rel=0.01)
    eight = plan(CUDA, LARGE, model={"quantization": "8bit"}).memory.weights
    assert eight - 2 * LARGE.embedding_parameters == pytest.approx(parameters, rel=0.01)


@settings(deadline=None, max_examples=40)
@given(
    rank=st.integers(1, 256),
    length=st.integers(8, 8192),
    rows=st.integers(1, 64),
    quantization=st.sampled_from(["none", "8bit", "4bit"]),
    checkpointing=st.booleans(),
    device=st.sampled_from([CPU, CUDA]),
)
def test_larger_plan_never_needs_less_memory(
    rank: int, length: int, rows: int, quantization: str, checkpointing: bool, device: Machine
) -> None:
    """The rank, the length or the rows of a micro-batch grow."""

    def peak(rank: int, length: int, rows: int) -> int:
        return plan(
            device,
            lengths=[length] * 64,
            model={"quantization": quantization, "max_seq_length": 8192},
            adapter={"rank": rank},
            training={
                "batch_size": rows,
                "effective_batch_size": 65,
                "gradient_checkpointing": checkpointing,
            },
        ).memory.peak_bytes

    base = peak(rank, length, rows)
    assert peak(rank + 1, length, rows) >= base
    assert peak(rank, min(length + 100, 8192), rows) >= base
    assert peak(rank, length, rows + 1) >= base


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 100_000), min_size=1, max_size=30),
    share=st.floats(0, 1),
    available=st.integers(0, 200 * GB),
    effective=st.integers(1, 1000),
    base=st.sampled_from([CPU, CUDA, MPS]),
)
def test_any_rows_and_machine_give_a_plan(
    lengths: list[int], share: float, available: int, effective: int, base: Machine
) -> None:
    machine = dataclasses.replace(base, available_bytes=available)
    if machine.gpu is not None:
        machine = with_gpu(machine, free_bytes=available)
    config = recipe(training={"effective_batch_size": effective})
    settled = planned(config, machine, SMALL, np.array(lengths, np.int64), share)
    assert settled.micro_batch_rows >= 1
    assert settled.micro_batch_tokens >= 1
    assert settled.steps >= 1
    assert (settled.fits == "yes") == (settled.advice == ())
    assert Plan.from_json(settled.to_json()) == settled


def test_a_plan_survives_its_file() -> None:
    settled = plan(dataclasses.replace(CPU, available_bytes=2 * GB), LARGE)
    assert settled.advice
    assert Plan.from_json(settled.to_json()) == settled
    warned = plan(shape=dataclasses.replace(SMALL, architecture="novel"))
    assert warned.warnings
    assert Plan.from_json(warned.to_json()) == warned
    assert '"peak_bytes"' in settled.to_json()


def test_every_field_of_earlier_plan_is_read() -> None:
    """The plan of a run that version 0.1.0 recorded, whose fields lie side by side."""
    recorded = Path(__file__).parent / "replay" / "recorded" / "run" / "plan.json"
    later = {"warnings": []}  # 0.1.0 had none to give
    assert flat(Plan.from_json(recorded.read_text())) == json.loads(recorded.read_text()) | later


def test_a_plan_is_for_one_process() -> None:
    made = plan(CUDA).decisions
    assert (made.processes, made.strategy) == (1, "single")


def test_time_counts_what_a_method_looks_at_beside_its_steps() -> None:
    """A reference is one pass without gradients, whatever the epochs; KTO looks at other prompts in every step too."""
    rows = RowStats.uniform(1000, 100, 0.5)

    def flops(method: str, epochs: float) -> float:
        config = recipe(training={"method": method, "epochs": epochs})
        return make_plan(config, CPU, choose_backend(CPU, config, SMALL), SMALL, rows).work.flops

    reference = flops("dpo", 2) - flops("simpo", 2)
    assert reference == pytest.approx(flops("dpo", 8) - flops("simpo", 8))
    assert reference == pytest.approx(flops("dpo", 0.5) * 2 - flops("simpo", 0.5) * 2)
    assert 0.15 < reference / flops("simpo", 2) < 0.3, "a third to a half of one epoch's arithmetic"
    assert flops("kto", 2) - flops("simpo", 2) == pytest.approx(4 * reference)


def test_sample_statistics_stand_for_all_rows() -> None:
    examples = Examples(np.arange(10, dtype=np.int32), np.arange(10) < 4, np.array([0, 3, 10]))
    rows = RowStats.of(examples, total=20)
    assert (rows.lengths.tolist(), rows.trained_share, rows.sampled, rows.longest) == ([3, 7], 0.4, True, 7)
    assert rows.tokens == 100
    assert rows.cut(5).lengths.tolist() == [3, 5]
    assert not RowStats.of(examples).sampled
    with pytest.raises(DataError, match="no training examples"):
        RowStats.uniform(0, 5, 0.5).require()
