"""Claims about what comes of a run: exports, memory, speed, and going on where memory runs out."""

import json
import subprocess
import sys
import time

from engine.doctor.prove.learning import NotHere, Outcome
from engine.doctor.prove.trial import Bench, trained
from engine.errors import CheckFailed
from engine.export.registry import exporter_named
from engine.hardware.probe import Machine
from engine.jobs import export
from engine.jobs.base import JobContext
from engine.planning.limits import COMFORT
from engine.process import launcher
from engine.runs.directory.control import Control
from engine.runs.directory.events import Memory, Step
from engine.runs.directory.run import Run
from engine.units import size

FORMATS: tuple[tuple[str, dict[str, str]], ...] = (("merged", {}), ("gguf", {"quantization": "q8_0"}))
"""Exporters that are tried, with their options."""
MATRIX_CPU, MATRIX_GPU = 1024, 4096
"""Rows and columns of the product that the machine's rate is measured with."""
REPEATS = 4
COPIED_BYTES = 128 << 20
CHILD_S = 240
WAIT_S = 0.2


def exports(bench: Bench) -> Outcome:
    """Export a tiny trained model, and have the parity gate judge it."""
    run = trained(bench.recipe(bench.model("Llama")))
    told, all_hold = [], True
    for name, options in FORMATS:
        if exporter_named(name).missing():
            told.append(f"{name}: not installed")
            continue
        job = export.Export(str(run.folder), name, bench.folder / f"export-{name}", options).create()
        try:
            with job.locked():
                export.run(JobContext(job, Control(job)))
        except CheckFailed as error:
            all_hold = False
            told.append(f"{name}: {error.message}")
        else:
            told.append(f"{name}: {_divergence(job)}")
    return all_hold, "; ".join(told)


def starter_run(bench: Bench) -> Run:
    """Train the starter for some steps in an engine process of its own, as `ft train` does."""
    recipe = bench.recipe(
        bench.starter, training={"max_steps": 6, "batch_size": "auto", "effective_batch_size": 8}
    )
    engine = launcher.launch(recipe)
    try:
        while engine.run.alive():
            time.sleep(WAIT_S)
    finally:
        if engine.run.alive():
            engine.kill()
    return engine.run


def memory(run: Run) -> Outcome:
    """Peak of a finished run against its plan."""
    plan = run.plan
    readings = [event for event in run.events() if isinstance(event, Memory)]
    on_device = [reading.device_peak_bytes for reading in readings if reading.device_peak_bytes]
    in_process = [reading.process_peak_bytes for reading in readings if reading.process_peak_bytes]
    found = in_process if plan is not None and plan.device == "cpu" else on_device or in_process
    if plan is None or not found:
        raise NotHere(f"the run of the starter has no figures: it {run.state().status}")
    peak, planned = max(found), plan.memory.peak_bytes
    figure = f"starter: {size(peak)} measured, {size(planned)} planned ({peak / planned - 1:+.0%})"
    return peak <= planned / COMFORT, figure


def speed(run: Run) -> str:
    """Tokens a second of a finished run, and the part of the machine's rate of products that it reached."""
    plan = run.plan
    steps = [event for event in run.events() if isinstance(event, Step)][1:]  # the first warms up
    if plan is None or not steps:
        raise NotHere(f"the run of the starter has no figures: it {run.state().status}")
    seconds = sum(step.step_s for step in steps)
    reached = plan.work.flops / plan.steps * len(steps) / seconds
    rate, bandwidth = machine_rates(plan.device, plan.compute_dtype, plan.decisions.backend)
    tokens = sum(step.tokens for step in steps) / seconds
    return (
        f"starter: {tokens:,.0f} tokens/s, {reached / 1e9:,.0f} of {rate / 1e9:,.0f} GFLOP/s in {plan.compute_dtype} "
        f"on {plan.device} ({reached / rate:.0%}); memory moves {bandwidth / 1e9:,.0f} GB/s"
    )


def machine_rates(device: str, dtype: str, backend: str) -> tuple[float, float]:
    """FLOP/s of a large product, and bytes a second of a large copy (read and written), the best of some tries."""
    return _mlx_rates(device, dtype) if backend == "mlx" else _torch_rates(device, dtype)


def memory_runs_out(bench: Bench, machine: Machine) -> Outcome:
    """Train under a limit that one micro-batch does not fit into, and compare with training without it."""
    if machine.system != "Linux" or machine.device != "cpu":
        raise NotHere("the limit that it needs is one of Linux, for a CPU")
    command = [
        sys.executable,
        "-P",
        "-m",
        "engine.doctor.prove.limited",
        str(bench.folder),
        str(bench.starter),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CHILD_S)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return False, f"it ended with {done.returncode}: {lines[-1] if lines else 'no word'}"
    told = json.loads(done.stdout.splitlines()[-1])
    return told["holds"], told["figure"]


def _divergence(job: Run) -> str:
    try:
        proof = json.loads((job.folder / "proof.json").read_text())
        return f"KL divergence {proof['kl_mean']:.1e} nats"
    except (OSError, ValueError, KeyError, TypeError):
        return "proved"


def _torch_rates(device: str, dtype: str) -> tuple[float, float]:
    import torch

    kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]
    side = MATRIX_CPU if device == "cpu" else MATRIX_GPU
    left = torch.randn(side, side, device=device).to(kind)
    block = torch.ones(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(block)

    def wait() -> None:
        if device != "cpu":
            getattr(torch, device).synchronize()

    product, copy = [], []
    for _ in range(REPEATS):
        wait()
        began = time.perf_counter()
        left @ left
        wait()
        product.append(time.perf_counter() - began)
        began = time.perf_counter()
        target.copy_(block)
        wait()
        copy.append(time.perf_counter() - began)
    return 2 * side**3 / min(product), 2 * COPIED_BYTES / min(copy)


def _mlx_rates(device: str, dtype: str) -> tuple[float, float]:
    import mlx.core as mx

    kind = {"bf16": mx.bfloat16, "fp16": mx.float16, "fp32": mx.float32}[dtype]
    side = MATRIX_CPU if device == "cpu" else MATRIX_GPU
    left = mx.random.normal((side, side)).astype(kind)
    block = mx.ones(COPIED_BYTES // 4)
    mx.eval(left, block)
    product, copy = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        mx.eval(left @ left)
        product.append(time.perf_counter() - began)
        began = time.perf_counter()
        mx.eval(block + 1)
        copy.append(time.perf_counter() - began)
    return 2 * side**3 / min(product), 2 * COPIED_BYTES / min(copy)
