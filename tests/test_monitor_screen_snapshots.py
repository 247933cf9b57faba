"""Snapshots of Monitor at the three sizes, in its states; figures, clock and engine are held still."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import paths
from engine.backend_spec import MemoryPlan
from engine.parity.divergence import Agreement
from engine.parity.limits import limits_of
from engine.parity.proof import Compared, Proof
from engine.parity.tokens import TokenCheck
from engine.planning.plan import Decisions, Estimate, Plan, Work
from engine.runs.directory import registry
from engine.runs.directory.events import (
    Eval,
    Failed,
    Finished,
    Load,
    Memory,
    Phase,
    Sample,
    Saved,
    Serving,
    Started,
    Warned,
)
from engine.runs.directory.run import Run
from tests.monitor_app import GB, StillApp, all_read, engine, laptop, until, workstation
from tests.run_fixtures import STARTED, make_run, step

RUN = "20260102-000000-sql-helper"
SIZES = [(80, 24), (120, 36), (200, 50)]
Snap = Callable[..., bool]


def plan() -> Plan:
    """14.2 of 36 GB."""
    parts = dict.fromkeys(MemoryPlan.__dataclass_fields__, 0)
    memory = MemoryPlan(**parts | {"weights": 6_400_000_000, "activations": 7_800_000_000})
    decisions = Decisions(
        backend="peft",
        device="mps",
        weights_dtype="bf16",
        compute_dtype="bf16",
        attention="sdpa",
        packing=True,
        micro_batch_rows=4,
        micro_batch_tokens=2048,
        effective_batch_size=16,
        gradient_checkpointing=False,
    )
    work = Work(
        epochs=3.0,
        steps=600,
        examples=3200,
        tokens_per_epoch=400_000,
        trained_tokens_per_epoch=200_000,
        longest=512,
        sampled=False,
    )
    return Plan(decisions, work, memory, Estimate(840.0, 36 * GB, "yes"))


def training(steps: int = 187) -> Run:
    """A run in the middle of its training, with all that Monitor shows."""
    run = make_run(RUN, steps=0, end=None)
    (run.folder / "plan.json").write_text(plan().to_json())
    run.log.write_text("loading the model\ntraining on the GPU\n")
    run.emit(Phase(t=STARTED + 1, name="loading", note="sql-helper on mps"))
    run.emit(Phase(t=STARTED + 2, name="training", done=0, total=600))
    best = math.inf
    for number in range(1, steps + 1):
        loss = 1.3 + 1.8 * math.exp(-number / 40) + 0.12 * math.sin(number * 1.7)
        rate = 2e-4 * min(1.0, number / 20) * (0.5 + 0.5 * math.cos(math.pi * number / 600))
        run.emit(replace(step(number, loss, total=600, lr=rate), grad_norm=0.6 + 1.4 * loss / number**0.5))
        held = 13_200_000_000 + 20_000_000 * (number % 20)
        run.emit(Memory(t=STARTED + number, process_bytes=2 * GB, device_bytes=held))
        if number % 50 == 0:
            score = loss + 0.2
            answer = "SELECT count(*)\nFROM singer"
            run.emit(
                Sample(t=STARTED + number, step=number, prompt="How many singers are there?", text=answer)
            )
            run.emit(
                Eval(
                    t=STARTED + number, step=number, loss=score, perplexity=math.exp(score), best=score < best
                )
            )
            path = f"checkpoints/step-{number:06}"
            run.emit(Saved(t=STARTED + number, step=number, path=path, kind="checkpoint"))
            best = min(best, score)
    return run


@pytest.mark.parametrize("size", SIZES)
def test_while_it_trains(ft_home: Path, snap_compare: Snap, size: tuple[int, int]) -> None:
    run = training()
    run.emit(
        Warned(t=STARTED + 187, message="The gradient was cut 12 times.", hint="Lower the learning rate.")
    )
    with engine(run):
        app = StillApp(laptop(), run=RUN)
        assert snap_compare(app, terminal_size=size, run_before=all_read)


@pytest.mark.parametrize("size", SIZES)
def test_the_machine_without_a_run(ft_home: Path, snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(StillApp(workstation()), terminal_size=size, run_before=sampled)


@pytest.mark.parametrize("size", SIZES)
def test_a_laptop_without_a_run(ft_home: Path, snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(StillApp(laptop()), terminal_size=size, run_before=sampled)


@pytest.mark.parametrize("size", SIZES)
def test_before_the_first_step(ft_home: Path, snap_compare: Snap, size: tuple[int, int]) -> None:
    run = make_run(RUN, steps=0, end=None)
    run.emit(Phase(t=STARTED + 1, name="tokenising", done=280, total=3200))
    with engine(run):
        app = StillApp(laptop(), run=RUN)
        assert snap_compare(app, terminal_size=size, run_before=all_read)


def test_when_it_has_failed(ft_home: Path, snap_compare: Snap) -> None:
    run = training(60)
    run.emit(
        Failed(
            t=STARTED + 61,
            kind="memory",
            message="The GPU has no memory left for a micro-batch of 4 rows.",
            hint="Lower model.max_seq_length to 1024.",
        )
    )
    app = StillApp(laptop(), run=RUN)
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing("g"))


def test_without_colours(ft_home: Path, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    training().emit(Finished(t=STARTED + 188, reason="stopped", step=187))
    app = StillApp(laptop(), run=RUN)
    assert snap_compare(app, terminal_size=(120, 36), run_before=all_read)


def test_looked_at_closely_on_a_logarithmic_axis(ft_home: Path, snap_compare: Snap) -> None:
    training().emit(Started(t=STARTED + 500, run=RUN, pid=2, resumed_from=150))
    app = StillApp(laptop(), run=RUN)
    keys = ("l", "z", "i", *["left"] * 20)
    assert snap_compare(app, terminal_size=(120, 36), run_before=pressing(*keys))


def job(kind: str, run_id: str, **options: Any) -> Run:
    """A job that was started when the runs of these tests were."""
    run = Run(paths.runs() / run_id)
    run.folder.mkdir(parents=True)
    (run.folder / registry.JOB).write_text(json.dumps({"kind": kind, "model": RUN} | options))
    run.emit(Started(t=STARTED, run=run_id, pid=1))
    return run


@pytest.mark.parametrize("size", SIZES[:2])
def test_export_over_its_limits(ft_home: Path, snap_compare: Snap, size: tuple[int, int]) -> None:
    options = {"exporter": "gguf", "out": "/srv/gguf-sql-helper", "options": {"quantization": "Q2_K"}}
    run = job("export", "20260103-000000-export-gguf-sql-helper", **options)
    layers = (("model.layers.3.mlp.down_proj.weight", 0.21), ("model.layers.0.self_attn.q_proj.weight", 0.18))
    report = Proof(
        Agreement(512, 0.612, 400, 0.43, 2.31, 9.7, 1000),
        limits_of("q2_k"),
        TokenCheck(18, 4),
        Compared("validation rows of sql-helper", 16),
        "adapter unmerged, fp32",
        "llama.cpp, by xllamacpp 1.2",
        layers,
    )
    (run.folder / "proof.json").write_text(json.dumps(report.as_json()))
    run.emit(Phase(t=STARTED + 40, name="proving", done=16, total=17, note="asking the exported model"))
    run.emit(
        Failed(t=STARTED + 48, kind="check", message="The gguf export answers otherwise.", hint="--no-prove")
    )
    app = StillApp(laptop(), run=run.id)
    assert snap_compare(app, terminal_size=size, run_before=all_read)


@pytest.mark.parametrize("size", SIZES[:2])
def test_server_at_work(ft_home: Path, snap_compare: Snap, size: tuple[int, int]) -> None:
    run = job("serve", "20260104-000000-serve-sql-helper", port=8000)
    url, models = "http://127.0.0.1:8000/v1", ("sql-helper", "base")
    run.emit(Phase(t=STARTED + 3, name="serving", note=f"{', '.join(models)} at {url}"))
    run.emit(Serving(t=STARTED + 3, url=url, models=models, engine="ft", slots=16))
    for number in range(30):
        speed = 300 + 120 * math.sin(number / 3)
        load = {
            "running": 3 + number % 4,
            "waiting": number % 3,
            "answers": 4 * number,
            "tokens": 700 * number,
        }
        run.emit(Load(t=STARTED + 4 + 2 * number, tokens_per_s=speed, **load))
    with engine(run):
        app = StillApp(laptop(), run=run.id)
        assert snap_compare(app, terminal_size=size, run_before=all_read)


async def sampled(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: len(pilot.app.samples) == 60)
    await pilot.pause(0.3)


def pressing(*keys: str) -> Callable[[Pilot[Any]], Any]:
    async def before(pilot: Pilot[Any]) -> None:
        await all_read(pilot)
        await pilot.press(*keys)
        await pilot.pause(0.2)

    return before
