"""Beside busy processes the engine gives way, and nothing of what it computes depends on that."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.config.load import load_text
from engine.hardware.contention import Contention, ContentionMeter
from engine.hardware.sharing import ENTER_AFTER, LEAVE_AFTER, SharingRule
from engine.process import launcher as process
from engine.runs.directory import control
from engine.runs.directory import events as ev
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from tests.terminal import PATIENCE_S, until, write_recipe

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="on Linux, with two cores to share"
)
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))"


@pytest.fixture
def two_cores() -> Iterator[list[int]]:
    """Two cores for this process and all that it starts, however many the machine has."""
    own = os.sched_getaffinity(0)
    two = sorted(own)[:2]
    os.sched_setaffinity(0, two)
    yield two
    os.sched_setaffinity(0, own)


@contextmanager
def busy_process() -> Iterator[None]:
    """A process that computes all the time, in a session of its own as somebody else's program is."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_run_beside_busy_process_stays_exact(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, two_cores: list[int]
) -> None:
    """Resumed alone, it ends with the same bytes."""
    monkeypatch.setenv("FT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    recipe = write_recipe(
        tmp_path, tiny_model, steps=300, training={"precision": "bf16", "learning_rate": 1e-3},
        evaluation={"every": 10_000}, checkpoints={"every": 10_000},
    )  # fmt: skip
    alone, shared = (
        create_run(load_text(recipe.read_text(), recipe), tmp_path / name) for name in ("alone", "shared")
    )
    finish(process.start(alone))
    with busy_process():
        engine = process.start(shared)
        until(lambda: any(map(is_told, shared.events())), "told of the other program")
        control.send(shared, "stop")
        finish(engine)
    stopped_at = shared.state().step
    assert 0 < stopped_at < 300
    checkpoint = shared.checkpoints / f"step-{stopped_at:06}"
    finish(process.start(shared, resume=checkpoint))
    assert weights(shared) == weights(alone)


def is_told(event: ev.Event) -> bool:
    return isinstance(event, ev.Warned) and event.message.startswith("Other programs keep about")


def finish(engine: process.Engine) -> None:
    code = engine.supervisor.wait(PATIENCE_S)
    assert code == 0, engine.run.log.read_text()


def weights(run: Run) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def seen(others: float, waiting: float = 0.5, computing: int = 2) -> Contention:
    return Contention(others, waiting, tuple(range(computing)), own=1.0, busy={})


def after(rule: SharingRule, reading: Contention, times: int) -> int | None:
    """On how many cores the threads take turns after so many readings alike; None where they have all to themselves."""
    for _ in range(times):
        rule.follow(reading)
    return rule.share and rule.share.cores


def test_threads_give_way_and_come_back() -> None:
    """They give way after a moment and come back some seconds after the others have gone."""
    rule = SharingRule(2)
    assert after(rule, seen(1.0), ENTER_AFTER - 1) is None
    assert after(rule, seen(0.0), 1) is None, "it was over at once"
    assert after(rule, seen(1.0), ENTER_AFTER) == 1
    assert after(rule, seen(0.0), LEAVE_AFTER - 1) == 1
    assert after(rule, seen(1.0), 1) == 1
    assert after(rule, seen(0.0), LEAVE_AFTER) is None


def test_threads_stay_with_nobody_in_the_way() -> None:
    assert after(SharingRule(2), seen(0.2), 9) is None, "a mouse is moved"
    assert after(SharingRule(2), seen(1.0, waiting=0.0), 9) is None, "nobody waits"
    assert after(SharingRule(2), seen(1.0, computing=1), 9) is None, "a thread alone waits for no other"
    assert after(SharingRule(16), seen(3.0, computing=8), 9) is None, "there are cores for all"


def test_threads_take_only_cores_that_help() -> None:
    """16 threads on 15 cores take as long as on 8: two rounds."""
    assert after(SharingRule(16), seen(1.0, computing=16), 9) == 8
    assert after(SharingRule(16), seen(9.0, computing=16), 9) == 6
    assert after(SharingRule(2), seen(5.0), 9) == 1


def test_share_follows_number_of_other_threads() -> None:
    rule = SharingRule(4)
    assert after(rule, seen(1.0, computing=4), ENTER_AFTER) == 2
    assert after(rule, seen(3.0, computing=0), LEAVE_AFTER) == 1
    assert after(rule, seen(1.0, computing=0), LEAVE_AFTER) == 2


def test_meter_sees_a_busy_process(two_cores: list[int]) -> None:
    meter = ContentionMeter(two_cores)

    def others() -> bool:
        reading = meter.read()
        return reading is not None and reading.others > 0.25

    with busy_process():
        until(others, "a busy process is seen")


CONFINE = """
import os, threading, time
from engine.hardware.confinement import Confinement
now = os.sched_getaffinity
over = threading.Event()
helper = threading.Thread(target=over.wait); helper.start()
two = sorted(os.sched_getaffinity(0))
before = now(0), now(helper.native_id)
confinement = Confinement()
"""


def test_every_thread_gets_its_cores_back(two_cores: list[int]) -> None:
    run_in_process(
        CONFINE
        + "confinement.to(two[:1], []); confinement.to(two[1:], [helper.native_id])\n"
        + "assert now(0) == now(helper.native_id) == {two[1]}\n"
        + "later = threading.Thread(target=over.wait); later.start(); confinement.to(two[1:], [])\n"
        + "last = threading.Thread(target=over.wait); last.start(); confinement.end()\n"
        + "assert (now(0), now(helper.native_id)) == before\n"
        + "assert now(later.native_id) == now(last.native_id) == before[0], 'they began where they were made'\n"
        + "over.set()"
    )


def test_cores_that_somebody_set_stay_set(two_cores: list[int]) -> None:
    """By `taskset`, for a thread or for all, before and meanwhile."""
    run_in_process(
        CONFINE
        + "os.sched_setaffinity(helper.native_id, two[:1])\n"
        + "confinement.to(two[1:], []); assert now(helper.native_id) == {two[0]}, 'it may not have the other'\n"
        + "os.sched_setaffinity(0, two); os.sched_setaffinity(0, two[:1])\n"
        + "confinement.to(two[1:], []); assert now(0) == {two[0]}\n"
        + "confinement.end(); assert now(0) == now(helper.native_id) == {two[0]}\n"
        + "over.set()"
    )


def test_waiting_thread_sleeps_in_short_waits(two_cores: list[int]) -> None:
    """Its kernel thread then gives its core away at each wait; a spinning one keeps it for milliseconds."""
    run_in_process(
        "import os, time, torch\n"
        "from pathlib import Path\n"
        "from engine.hardware.openmp import ShortWaits\n"
        "numbers = torch.ones(1 << 20); numbers.add_(1)\n"
        "workers = {task.name for task in Path('/proc/self/task').iterdir()} - {str(os.getpid())}\n"
        "def sleeps(): return sum(int(line.split()[1]) for worker in workers\n"
        "    for line in Path(f'/proc/self/task/{worker}/status').read_text().splitlines() if line.startswith('vol'))\n"
        "def slept():\n"
        "    before = sleeps()\n"
        "    for _ in range(100): numbers.add_(1); time.sleep(0.0005)\n"
        "    return sleeps() - before\n"
        "waits = ShortWaits(2); assert slept() >= 90; waits.end()",
        OMP_NUM_THREADS="2",
    )


COMPUTE = """
import os, time, torch
from engine.hardware.sharing import Sharing
allowed = os.sched_getaffinity(0)
numbers = torch.ones(1 << 20)
sharing = Sharing(); sharing.start()
began, news = time.monotonic(), None
while news is None and time.monotonic() - began < LIMIT:
    for _ in range(50): numbers.mul_(1.0)
    news = sharing.news()
"""


@pytest.mark.slow
def test_process_beside_busy_one_keeps_one_core(two_cores: list[int]) -> None:
    with busy_process():
        run_in_process(
            COMPUTE.replace("LIMIT", str(PATIENCE_S / 2))
            + "assert news and news.cores == 1, 'never told'\n"
            + "assert len(os.sched_getaffinity(0)) == 1 and 0 < sharing.portion <= 1\n"
            + "sharing.end(); assert os.sched_getaffinity(0) == allowed",
            OMP_NUM_THREADS="2",
        )


@pytest.mark.slow
def test_thread_sharing_can_be_switched_off(two_cores: list[int]) -> None:
    with busy_process():
        run_in_process(
            COMPUTE.replace("LIMIT", "4")
            + "assert news is None and os.sched_getaffinity(0) == allowed; sharing.end()",
            OMP_NUM_THREADS="2",
            FT_CPU_SHARING="off",
        )


def run_in_process(program: str, **environment: str) -> None:
    """Run a program in a process of its own, which has threads of no other test."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
