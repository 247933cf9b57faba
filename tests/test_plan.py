"""What `ft plan` settles, why, what it refuses, and what it advises."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.capabilities import CAPABILITIES
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, DataError, MachineError
from engine.hardware.probe import Machine
from engine.models.sizing import Linear, ModelShape
from engine.plan import Plan, make_plan

GB = 1_000_000_000
CPU = Machine(
    system="Linux",
    cpu="a CPU",
    cores=2,
    ram_bytes=24 * GB,
    available_bytes=22 * GB,
    bf16=False,
    device="cpu",
    gpu_name=None,
    gpu_bytes=None,
    gpu_free_bytes=None,
    gpu_capability=None,
    packages={"torch": "2.13.0", "transformers": "5.17.0", "peft": "0.21.2", "bitsandbytes": "0.50.2"},
)
CUDA = dataclasses.replace(
    CPU,
    device="cuda",
    gpu_name="NVIDIA RTX 3090",
    gpu_bytes=24 * GB,
    gpu_free_bytes=23 * GB,
    gpu_capability=(8, 6),
)
MPS = dataclasses.replace(
    CPU, system="Darwin", device="mps", gpu_name="Apple M2", gpu_bytes=16 * GB, gpu_free_bytes=16 * GB
)


def llama(hidden: int, layers: int, intermediate: int, heads: int, kv_heads: int, vocab: int) -> ModelShape:
    """The shape of a Llama with a tied output."""
    head_dim = hidden // heads
    linears = tuple(
        Linear(name, inputs, outputs, layers)
        for name, inputs, outputs in (
            ("q_proj", hidden, hidden),
            ("k_proj", hidden, kv_heads * head_dim),
            ("v_proj", hidden, kv_heads * head_dim),
            ("o_proj", hidden, hidden),
            ("gate_proj", hidden, intermediate),
            ("up_proj", hidden, intermediate),
            ("down_proj", intermediate, hidden),
        )
    )
    embedding = vocab * hidden
    matrices = sum(one.inputs * one.outputs * one.count for one in linears)
    return ModelShape(
        architecture="LlamaForCausalLM",
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=vocab,
        tied=True,
        parameters=matrices + embedding + hidden * (2 * layers + 1),
        linears=linears,
        context=8192,
        embedding_parameters=embedding,
    )


SMALL = llama(576, 30, 1536, 9, 3, 49152)
LARGE = llama(4096, 32, 14336, 32, 8, 128256)


def recipe(**sections: dict[str, Any]) -> TrainConfig:
    """A recipe with some values of its own."""
    return TrainConfig.model_validate(
        {"model": {"base": "m"}, "data": {"train": "d"}}
        | {
            name: ({"base": "m"} if name == "model" else {"train": "d"} if name == "data" else {}) | values
            for name, values in sections.items()
        }
    )


def plan(
    machine: Machine = CPU, shape: ModelShape = SMALL, lengths: list[int] | None = None, **sections: Any
) -> Plan:
    """A plan for 160 examples of about 200 tokens, unless said otherwise."""
    rows = np.array(lengths or [100, 200, 300, 400] * 40, np.int64)
    return make_plan(recipe(**sections), machine, shape, rows, 0.4)


def test_a_cpu_without_bf16_instructions_computes_in_fp32_and_says_why() -> None:
    settled = plan()
    assert (settled.weights_dtype, settled.compute_dtype) == ("bf16", "fp32")
    assert "no bf16 instructions" in settled.reasons["precision"]


def test_a_cpu_with_bf16_instructions_computes_in_bf16() -> None:
    settled = plan(dataclasses.replace(CPU, bf16=True))
    assert (settled.weights_dtype, settled.compute_dtype) == ("bf16", "bf16")


def test_bf16_asked_for_on_a_cpu_without_it_holds_weights_so_and_computes_in_fp32() -> None:
    settled = plan(training={"precision": "bf16"})
    assert (settled.weights_dtype, settled.compute_dtype) == ("bf16", "fp32")


@pytest.mark.parametrize(
    ("machine", "wanted", "weights", "compute"),
    [
        (CPU, "fp32", "fp32", "fp32"),
        (CUDA, "auto", "bf16", "bf16"),
        (CUDA, "fp16", "fp16", "fp16"),
        (dataclasses.replace(CUDA, gpu_capability=(7, 5)), "auto", "fp16", "fp16"),
        (MPS, "auto", "bf16", "bf16"),
        (MPS, "fp16", "fp16", "fp16"),
    ],
)
def test_precision_follows_the_device(machine: Machine, wanted: str, weights: str, compute: str) -> None:
    settled = plan(machine, training={"precision": wanted})
    assert (settled.weights_dtype, settled.compute_dtype) == (weights, compute)


def test_full_training_keeps_fp32_weights() -> None:
    settled = plan(CUDA, adapter={"type": "none"})
    assert (settled.weights_dtype, settled.compute_dtype) == ("fp32", "bf16")
    assert "every one of them is trained" in settled.reasons["precision"]


@pytest.mark.parametrize(
    ("machine", "sections", "words"),
    [
        (CPU, {"training": {"precision": "fp16"}}, "not for the CPU"),
        (dataclasses.replace(CUDA, gpu_capability=(7, 5)), {"training": {"precision": "bf16"}}, "no bf16"),
        (MPS, {"model": {"quantization": "4bit"}}, "Apple"),
        (dataclasses.replace(CPU, packages={"torch": "2", "transformers": "5", "peft": "0"}),
         {"model": {"quantization": "8bit"}}, "bitsandbytes"),
    ],
)  # fmt: skip
def test_what_the_machine_cannot_do_is_refused_with_a_hint(
    machine: Machine, sections: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        plan(machine, **sections)
    assert refused.value.hint


def test_a_missing_backend_is_said() -> None:
    with pytest.raises(MachineError, match="torch and peft"):
        plan(dataclasses.replace(CPU, packages={"transformers": "5"}))


def test_no_examples_are_refused() -> None:
    with pytest.raises(DataError):
        make_plan(recipe(), CPU, SMALL, np.array([], np.int64), 0.0)


def test_flash_attention_needs_package_gpu_and_half_precision() -> None:
    with_package = dataclasses.replace(CUDA, packages={**CUDA.packages, "flash_attn": "2.8"})
    assert plan(with_package).attention == "flash_attention_2"
    assert plan(CUDA).attention == "sdpa"
    assert plan(with_package, training={"precision": "fp32"}).attention == "sdpa"
    assert plan(dataclasses.replace(with_package, gpu_capability=(7, 5))).attention == "sdpa"
    assert plan(CPU).attention == "sdpa"


def test_packing_is_on_where_it_only_saves_padding() -> None:
    assert plan(CPU).packing
    assert not plan(CPU, data={"packing": False}).packing
    even = plan(CUDA, lengths=[200] * 64)
    assert not even.packing
    assert "0% is padding" in even.reasons["packing"]
    uneven = plan(CUDA, lengths=[10, 4000] * 4, training={"effective_batch_size": 8})
    assert uneven.packing


def test_auto_takes_the_fast_micro_batch_and_no_more() -> None:
    settled = plan()
    assert settled.micro_batch_tokens == 1024
    assert settled.micro_batch_rows == 16
    assert not settled.gradient_checkpointing
    assert settled.accumulation == 4
    assert "run no faster" in settled.reasons["batch"]


def test_auto_takes_a_small_step_whole() -> None:
    settled = plan(lengths=[50] * 64, training={"effective_batch_size": 8})
    assert (settled.micro_batch_rows, settled.micro_batch_tokens, settled.accumulation) == (8, 400, 1)


def test_auto_never_goes_below_the_longest_example() -> None:
    assert plan(lengths=[1500, 10]).micro_batch_tokens == 1500


def test_a_batch_size_is_taken_as_it_is() -> None:
    settled = plan(training={"batch_size": 4})
    assert (settled.micro_batch_rows, settled.micro_batch_tokens) == (4, 1600)
    assert "as train.yml says" in settled.reasons["batch"]


def test_auto_makes_the_micro_batch_smaller_then_recomputes_as_memory_shrinks() -> None:
    settled = [
        plan(dataclasses.replace(CPU, ram_bytes=64 * GB, available_bytes=gigabytes * GB), LARGE)
        for gigabytes in (60, 30, 26, 24)
    ]
    assert settled[0].micro_batch_tokens == 1024
    assert not settled[0].gradient_checkpointing
    assert settled[1].micro_batch_tokens < 1024
    assert "more would not fit" in settled[1].reasons["batch"]
    assert settled[-1].gradient_checkpointing
    assert "no micro-batch fits" in settled[-1].reasons["checkpointing"]
    recomputed = [one.gradient_checkpointing for one in settled]
    assert recomputed == sorted(recomputed)


def test_a_smaller_micro_batch_is_told_after_running_out_of_memory() -> None:
    rows = np.array([100, 200, 300, 400] * 40, np.int64)
    settled = make_plan(recipe(), CPU, SMALL, rows, 0.4, max_rows=2, max_tokens=300)
    assert (settled.micro_batch_rows, settled.micro_batch_tokens) == (2, 300)
    assert "running out of memory" in settled.reasons["batch"]
    assert settled.memory.peak_bytes < make_plan(recipe(), CPU, SMALL, rows, 0.4).memory.peak_bytes


def test_steps_and_tokens_follow_epochs_and_rows() -> None:
    settled = plan(lengths=[100] * 50, training={"effective_batch_size": 16, "epochs": 2.5})
    assert settled.steps == 10  # 50 rows make 4 steps
    assert settled.tokens_per_epoch == 5000
    assert settled.trained_tokens_per_epoch == 2000
    assert settled.longest == 100


def test_max_steps_decides_whatever_the_epochs_say() -> None:
    settled = plan(lengths=[100] * 64, training={"max_steps": 10, "effective_batch_size": 16})
    assert (settled.steps, settled.epochs) == (10, 2.5)
    assert "max_steps" in settled.reasons["steps"]


def test_a_sample_stands_for_all_rows_and_the_plan_says_so() -> None:
    settled = make_plan(
        recipe(), CPU, SMALL, np.array([100] * 20, np.int64), 0.5, sampled=True, examples=1000
    )
    assert settled.sampled
    assert (settled.examples, settled.tokens_per_epoch) == (1000, 100_000)


def test_examples_are_cut_at_max_seq_length() -> None:
    assert plan(model={"max_seq_length": 256}).longest == 256


def test_time_is_a_guess_until_a_run_has_measured_the_machine() -> None:
    guessed = plan()
    assert guessed.seconds is not None
    assert "guess" in guessed.reasons["time"]
    measured = plan(dataclasses.replace(CPU, flops={"cpu/fp32": guessed.flops / 50}))
    assert measured.seconds == pytest.approx(50)
    assert "last run" in measured.reasons["time"]
    assert plan(CUDA).seconds is None


def test_recomputing_and_full_training_take_longer() -> None:
    base = plan(training={"gradient_checkpointing": False}).flops
    assert plan(training={"gradient_checkpointing": True}).flops > 1.2 * base
    assert plan(adapter={"type": "none"}).flops > 1.2 * base


def test_every_choice_has_a_reason() -> None:
    for machine in (CPU, CUDA, MPS):
        reasons = plan(machine).reasons
        assert all(reasons.values())
        assert reasons.keys() >= {
            "backend", "precision", "quantization", "attention", "packing", "batch", "checkpointing", "steps",
            "time", "memory",
        }  # fmt: skip


def test_a_plan_survives_its_file() -> None:
    settled = plan(dataclasses.replace(CPU, available_bytes=2 * GB), LARGE)
    assert settled.advice
    assert Plan.from_json(settled.to_json()) == settled
    assert '"peak_bytes"' in settled.to_json()


def test_what_fits_needs_no_advice() -> None:
    settled = plan()
    assert (settled.fits, settled.advice) == ("yes", ())


def test_advice_is_cheapest_first_and_makes_it_fit() -> None:
    machine = dataclasses.replace(CPU, ram_bytes=8 * GB, available_bytes=4 * GB)
    settled = plan(
        machine,
        lengths=[2000] * 32,
        training={"batch_size": 4, "gradient_checkpointing": False},
    )
    assert settled.fits == "no"
    names = [line.split(":")[0] for line in settled.advice]
    assert names.index("gradient_checkpointing") < names.index("max_seq_length")
    fixed = plan(machine, lengths=[2000] * 32, training={"batch_size": 4, "gradient_checkpointing": True})
    assert fixed.fits == "yes"


def test_advice_combines_changes_where_none_is_enough() -> None:
    machine = dataclasses.replace(CPU, ram_bytes=16 * GB, available_bytes=10 * GB)
    settled = plan(
        machine,
        LARGE,
        lengths=[1000] * 32,
        training={"batch_size": 8, "gradient_checkpointing": False},
    )
    assert len(settled.advice) == 1
    assert "quantization: 4bit" in settled.advice[0]
    assert "gradient_checkpointing: true" in settled.advice[0]


def test_a_model_that_is_too_large_whatever_is_changed_is_said_to_be() -> None:
    settled = plan(dataclasses.replace(CPU, ram_bytes=4 * GB, available_bytes=2 * GB), LARGE)
    assert settled.fits == "no"
    assert settled.advice[0].startswith("a smaller model")


def test_advice_never_names_what_the_machine_cannot_do() -> None:
    machine = dataclasses.replace(MPS, gpu_bytes=6 * GB, ram_bytes=8 * GB, available_bytes=7 * GB)
    assert "bit" not in " ".join(plan(machine, LARGE).advice)


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
def test_more_rank_length_or_rows_never_need_less_memory(
    rank: int, length: int, rows: int, quantization: str, checkpointing: bool, device: Machine
) -> None:
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
def test_any_rows_and_any_machine_give_a_whole_plan(
    lengths: list[int], share: float, available: int, effective: int, base: Machine
) -> None:
    machine = dataclasses.replace(base, available_bytes=available, gpu_free_bytes=available)
    config = recipe(training={"effective_batch_size": effective})
    settled = make_plan(config, machine, SMALL, np.array(lengths, np.int64), share)
    assert settled.micro_batch_rows >= 1
    assert settled.micro_batch_tokens >= 1
    assert settled.steps >= 1
    assert (settled.fits == "yes") == (settled.advice == ())
    assert Plan.from_json(settled.to_json()) == settled


def test_what_the_plan_chooses_is_what_the_backend_can_do() -> None:
    for machine in (CPU, CUDA, MPS):
        able = CAPABILITIES["peft", machine.device]
        assert plan(machine).compute_dtype in able.precisions
