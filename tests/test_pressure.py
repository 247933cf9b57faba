"""A run tells that memory runs short, once, before the system is slow or ends it."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.hardware.monitor import Monitor
from engine.hardware.pressure import Level, Pressure, of_linux, of_macos, pressure
from engine.runs.directory.events import Warned
from engine.training.monitors import PressureWatch
from tests.terminal import until
from tests.training import Job

CALM = "some avg10=0.00 avg60=0.41 avg300=0.87 total=207309\nfull avg10=0.00 avg60=0.17 avg300=0.33 total=81378\n"
SHORT = "some avg10=12.86 avg60=3.02 avg300=0.71 total=4120731\nfull avg10=2.04 avg60=0.60 avg300=0.11 total=811378\n"
THRASHING = "some avg10=71.20 avg60=22.90 avg300=5.55 total=9120730\nfull avg10=64.02 avg60=20.31 avg300=4.80 total=7\n"


@pytest.mark.parametrize(
    ("text", "level"), [(CALM, Level.NORMAL), (SHORT, Level.WARNING), (THRASHING, Level.CRITICAL)]
)
def test_linux_stalls_have_a_level(text: str, level: Level) -> None:
    assert of_linux(text).level == level


@pytest.mark.parametrize(
    ("text", "level"), [("1\n", Level.NORMAL), ("2\n", Level.WARNING), ("4\n", Level.CRITICAL)]
)
def test_macos_levels_are_known(text: str, level: Level) -> None:
    found = of_macos(text)
    assert found is not None
    assert found.level == level


def test_mac_without_answer_has_no_pressure() -> None:
    assert of_macos("") is None


@pytest.mark.skipif(sys.platform != "linux", reason="PSI is Linux's")
def test_pressure_of_own_group_comes_first(tmp_path: Path) -> None:
    """An absent group leaves that of the whole system."""
    own, system, root = tmp_path / "cgroup", tmp_path / "memory", tmp_path / "fs"
    own.write_text("9:name=systemd:/\n0::/user.slice/run\n")
    system.write_text(SHORT)
    found = pressure(system, own, root)
    assert found is not None
    assert found.level == Level.WARNING
    group = root / "user.slice" / "run"
    group.mkdir(parents=True)
    (group / "memory.pressure").write_text(CALM)
    found = pressure(system, own, root)
    assert found is not None
    assert found.level == Level.NORMAL
    assert pressure(tmp_path / "none", tmp_path / "none", root) is None


@pytest.mark.skipif(not Path("/proc/pressure/memory").exists(), reason="this kernel does not count stalls")
def test_this_machine_tells_its_pressure() -> None:
    found = pressure()
    assert found is not None
    assert "of the last 10 s" in found.evidence
    assert Monitor().sample().pressure in ("normal", "warning", "critical")


def told(levels: list[tuple[float, Level]]) -> list[float]:
    """Seconds at which a watch warns that sees these levels."""
    seen = iter([level for _, level in levels])
    watch = PressureWatch(lambda: Pressure(next(seen), "it says so"))
    return [now for now, _ in levels if watch.check(now)]


def test_lasting_pressure_is_told_once() -> None:
    assert told([(t, Level.WARNING) for t in range(0, 600, 10)]) == [0]


def test_pressure_that_worsens_is_told_at_once() -> None:
    assert told([(0, Level.WARNING), (5, Level.CRITICAL), (10, Level.CRITICAL)]) == [0, 5]


def test_recurring_pressure_is_told_once_a_minute() -> None:
    waves = [(float(t), Level.NORMAL if t % 20 else Level.WARNING) for t in range(0, 140, 10)]
    assert told(waves) == [0, 60, 120]


def test_pressure_warning_says_what_to_do() -> None:
    """It says how bad the pressure is too."""
    warning = PressureWatch(lambda: of_linux(THRASHING)).check()
    assert warning is not None
    assert "critical" in warning.message
    assert "71% of the last 10 s" in warning.message
    assert "training.batch_size" in warning.hint


THRASH = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
    while True:
        for start in range(0, len(pages), 4096):
            pages[start]
"""
"""Reads a file over and over that is larger than the group may hold."""


@pytest.fixture
def thrashing(tmp_path: Path) -> Iterator[None]:
    """Another program that waits for memory all the time, until the system says so; needs the right to make a group."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory" / "memory.limit_in_bytes").exists()
    group = (root / "memory" if old else root) / f"ft-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(24 << 20))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    large = tmp_path / "large"
    with large.open(
        "wb"
    ) as file:  # on the disk alone: pages in memory already would count to this test's group
        file.write(bytes(96 << 20))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    child = subprocess.Popen(
        [sys.executable, "-c", THRASH, str(large)],
        preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
    )
    try:
        until(lambda: (found := pressure()) is not None and found.level > Level.NORMAL, "the system is short")
        yield
    finally:
        child.kill()
        child.wait()
        with contextlib.suppress(OSError):
            group.rmdir()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/pressure/memory").exists(), reason="this kernel does not count stalls")
def test_run_under_pressure_warns_and_goes_on(tiny_model: Path, tmp_path: Path, thrashing: None) -> None:
    job = Job.make(tiny_model, tmp_path, training={"max_steps": 2}, evaluation={"samples": []})
    assert job.train() == "completed"
    warnings = [event.message for event in job.run.events() if isinstance(event, Warned)]
    assert any("Memory pressure" in message for message in warnings)
