"""An engine that hangs is warned of, ended with its stacks in the log, and started again; a slow one is left alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.hardware.pressure import Level, Pressure
from engine.process.hangs import HangWatch, State
from engine.runs.directory import control
from engine.runs.directory.events import Acknowledged, Event, Failed, Finished, Phase, Started, Step, Warned
from engine.runs.directory.run import Run
from tests.run_fixtures import make_run, step
from tests.training import recipe_text, write_rows

ROOT = Path(__file__).parents[1]


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    """A process that does nothing, as an engine in a dead lock."""
    code = "import time; print('asleep', flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        asleep = psutil.Process(child.pid)
        until(lambda: asleep.status() == psutil.STATUS_SLEEPING)
        yield asleep
        child.kill()


@pytest.fixture
def busy() -> Iterator[psutil.Process]:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield psutil.Process(child.pid)
    child.kill()
    child.wait()


class Hung:
    """A run whose engine has done some steps of a second, and a watch over it with a clock of its own."""

    def __init__(self, process: psutil.Process, steps: int = 10, phase: str = "training") -> None:
        self.run = make_run("20260101-000000-a", steps=0, end=None)
        self.process, self.now = process, float(round(time.monotonic()) + 1)
        self.level = Level.NORMAL
        self.watch = HangWatch(self.run, process, read_pressure=lambda: Pressure(self.level, "as told"))
        self.emit(
            Started(run="a", pid=1), *(Phase(name=name) for name in ("tokenising", "loading", "training"))
        )
        self.emit(*(step(n, 1.0) for n in range(1, steps + 1)))
        if phase != "training":
            self.emit(Phase(name=phase))
        assert self.after(1) == "fine"

    def emit(self, *events: Event) -> None:
        for event in events:
            self.run.emit(event)

    def after(self, seconds: float) -> State:
        """Return the state after so many more seconds, with a check every second."""
        state: State = "fine"
        for _ in range(round(seconds)):
            self.now += 1
            state = self.watch.check(self.now)
        return state


def test_engine_silent_two_minutes_hangs(ft_home: Path, process: psutil.Process) -> None:
    """Silence of one minute is told."""
    hung = Hung(process)
    assert hung.after(59) == "fine"
    assert hung.after(1) == "silent"
    assert hung.after(59) == "silent"
    assert hung.after(1) == "hung"
    assert str(hung.watch.silence) == "no sign of life for 2 min in step 11; its steps take 1 s"


def test_engine_may_take_twenty_usual_steps(ft_home: Path, process: psutil.Process) -> None:
    """Its silence is told only then."""
    hung = Hung(process, steps=0)
    for number in range(1, 8):
        hung.emit(Step(**vars(step(number, 1.0)) | {"step_s": 30.0}))
    hung.after(1)
    assert hung.after(20 * 30 - 1) == "fine"
    assert hung.after(1) == "silent"


@pytest.mark.parametrize("life", ["step", "heartbeat"])
def test_any_sign_of_life_resets_silence(ft_home: Path, process: psutil.Process, life: str) -> None:
    hung = Hung(process)
    for number in range(11, 15):
        assert hung.after(59) == "fine"
        hung.run.heartbeat.touch() if life == "heartbeat" else hung.emit(step(number, 1.0))
        assert hung.after(1) == "fine"


def test_supervisor_warning_is_no_sign_of_life(ft_home: Path, process: psutil.Process) -> None:
    hung = Hung(process)
    hung.after(60)
    hung.emit(Warned(message="The engine shows no sign of life."))
    assert hung.after(60) == "hung"


WITHOUT_MEASURE = [(4, "training"), (10, "evaluating"), (10, "saving")]


@pytest.mark.parametrize(("steps", "phase"), WITHOUT_MEASURE)
def test_work_without_known_pace_never_hangs(
    ft_home: Path, busy: psutil.Process, steps: int, phase: str
) -> None:
    """The first steps compile; an evaluation or a save takes as long as it takes."""
    hung = Hung(busy, steps, phase)
    for _ in range(4):
        worked = sum(busy.cpu_times()[:2])
        until(lambda: sum(busy.cpu_times()[:2]) > worked + 0.1)  # noqa: B023 - called immediately
        assert hung.after(1) == "fine"
        hung.watch._silent_s = 299.0  # as if nothing had come for five minutes


@pytest.mark.parametrize(("steps", "phase"), WITHOUT_MEASURE)
def test_engine_idle_ten_minutes_hangs(
    ft_home: Path, process: psutil.Process, steps: int, phase: str
) -> None:
    """Five idle minutes are told."""
    hung = Hung(process, steps, phase)
    assert hung.after(299) == "fine"
    assert hung.after(1) == "silent"
    assert hung.after(300) == "hung"
    assert f"10 min while {phase} before step {steps + 1}, and does not compute" in str(hung.watch.silence)


def test_engine_may_wait_for_model_or_data(ft_home: Path, process: psutil.Process) -> None:
    hung = Hung(process)
    hung.emit(Started(run="a", pid=2), Phase(name="loading"))
    assert hung.after(3600) == "fine"
    hung.emit(Phase(name="tokenising"))
    assert hung.after(3600) == "fine"
    hung.emit(Phase(name="loading"))
    assert hung.after(601) == "hung"


def test_restarted_engine_has_no_known_pace(ft_home: Path, process: psutil.Process) -> None:
    hung = Hung(process)
    hung.emit(Started(run="a", pid=2, resumed_from=8), Phase(name="training"), step(9, 1.0))
    assert hung.after(299) == "fine"


def test_finished_evaluation_leaves_hang_watch_unchanged(ft_home: Path, process: psutil.Process) -> None:
    hung = Hung(process)
    hung.emit(Phase(name="evaluating"))
    assert hung.after(250) == "fine"
    hung.emit(Phase(name="training"))
    assert hung.after(61) == "silent"


def test_stopped_engine_does_not_hang(ft_home: Path, process: psutil.Process) -> None:
    hung = Hung(process)
    process.send_signal(signal.SIGSTOP)
    while process.status() != psutil.STATUS_STOPPED:
        pass
    assert hung.after(3600) == "fine"
    process.send_signal(signal.SIGCONT)
    while process.status() == psutil.STATUS_STOPPED:
        pass
    assert hung.after(59) == "fine"
    assert hung.after(61) == "hung"


def test_engine_survives_machine_sleep(ft_home: Path, process: psutil.Process) -> None:
    """A machine that has slept all night does not hang."""
    hung = Hung(process)
    hung.now += 8 * 3600
    assert hung.after(50) == "fine"


def test_engine_short_of_memory_does_not_hang(ft_home: Path, process: psutil.Process) -> None:
    """It is slow."""
    hung = Hung(process)
    hung.level = Level.WARNING
    assert hung.after(3600) == "fine"
    hung.level = Level.NORMAL
    assert hung.after(60) == "silent"


def test_paused_engine_shows_signs_of_life(ft_home: Path, process: psutil.Process) -> None:
    hung = Hung(process)
    control.send(hung.run, "pause")
    engine = control.Control(hung.run)
    hung.emit(Acknowledged(id="1", command="pause"))
    for _ in range(3):
        assert hung.after(59) == "fine"
        engine._heartbeat._at = float("-inf")  # a second later
        engine._take()
        assert hung.after(1) == "fine"


BACKEND = """
import os, re, time
from pathlib import Path
from engine.backend_spec import BackendSpec, Capability
from engine.backends.torch.memory_model import predict

PLACE = Path(os.environ["HANGS"])


def in_python():
    while True:
        pass


def with_the_lock_held():
    re.match(r"(a+)+$", "a" * 60 + "b")  # goes on for years, in C


def asleep():
    time.sleep(10**6)


def load(plan, config, folder, objective, *, adapter=None):
    from engine.backends.torch.causal_lm import TorchModel
    from engine.backends.torch.trainer import TorchTrainer

    if PLACE.read_text() == "loading":
        asleep()

    class Hangs(TorchTrainer):
        steps = 0

        def step(self, *arguments):
            Hangs.steps += 1
            how = PLACE.read_text()
            if Hangs.steps == 8 and how:
                if how.startswith("once "):
                    PLACE.write_text("")
                globals()[how.split()[-1]]()
            return super().step(*arguments)

    return Hangs(TorchModel.load(plan, config, folder, adapter), config, objective)


backend = BackendSpec("hangs", {"cpu": Capability(("fp32",), ("none",), ("lora",))}, load, predict)
"""
SUPERVISE = """
import sys
from pathlib import Path
from engine.config.load import load_recipe
from engine.process.hangs import Patience
from engine.runs.directory import lock
from engine.runs.directory.create import create_run
from engine.process.supervisor import Supervisor

recipe, folder, least_s, idle_s = sys.argv[1:]
run = create_run(load_recipe(Path(recipe)), Path(folder))
patience = Patience(least_s=float(least_s), steps=3, idle_s=float(idle_s))
sys.exit(Supervisor(run, lock.take(run.lock_file), False, {}, patience).supervise(None))
"""


class Trained:
    """A run of the tiny model that another package's backend trains, under a supervisor of little patience."""

    def __init__(self, base: Path, folder: Path, how: str, on_hang: str = "restart") -> None:
        packages = folder / "packages"
        about = packages / "ft_hangs-1.0.dist-info"
        about.mkdir(parents=True)
        (packages / "ft_hangs.py").write_text(BACKEND)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ft-hangs\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[ft.backends]\nhangs = ft_hangs:backend\n")
        (folder / "how").write_text(how)
        self.recipe = folder / "train.yml"
        self.recipe.write_text(
            recipe_text(
                base,
                write_rows(folder),
                backend="hangs",
                adapter={"dropout": 0.0},
                training={"max_steps": 12, "on_hang": on_hang},
                evaluation={"every": 50, "samples": []},
            )
        )
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}",
            "HANGS": str(folder / "how"),
        }
        self.run = Run(folder / "run")

    def start(self, least_s: float = 1.5, idle_s: float = 300.0) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-c", SUPERVISE, str(self.recipe), str(self.run.folder)]
        with (self.run.folder.parent / "said").open("ab") as log:
            return subprocess.Popen(
                [*command, str(least_s), str(idle_s)],
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return (self.run.folder.parent / "said").read_text()

    def events(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.run.events() if isinstance(event, kind)]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["in_python", "with_the_lock_held"])
def test_hung_engine_restarts_and_trains_to_end(tiny_model: Path, tmp_path: Path, how: str) -> None:
    trained = Trained(tiny_model, tmp_path, f"once {how}")
    assert trained.start().wait(timeout=300) == 0
    assert [event.resumed_from for event in trained.events(Started)] == [None, 6]  # type: ignore[attr-defined]
    warnings = [event.message for event in trained.events(Warned)]  # type: ignore[attr-defined]
    silent, again = (text for text in warnings if "sign of life" in text)
    assert "in step 8; its steps take" in silent
    assert "ended in as much time again" in silent
    assert "starts again from step-000006" in again
    assert how in trained.log, "the stacks of the hung engine are in the log"
    assert isinstance(list(trained.run.events())[-1], Finished)


@pytest.mark.slow
def test_engine_hung_while_loading_is_ended(tiny_model: Path, tmp_path: Path) -> None:
    trained = Trained(tiny_model, tmp_path, "loading", on_hang="stop")
    assert trained.start(idle_s=2.0).wait(timeout=300) == 6
    (failed,) = trained.events(Failed)
    assert isinstance(failed, Failed)
    assert "hung" in failed.message
    assert "while loading" in failed.message
    assert "in asleep" in trained.log


@pytest.mark.slow
def test_hung_engine_stops_if_recipe_says(tiny_model: Path, tmp_path: Path) -> None:
    """With `on_hang: stop` it is not started again."""
    trained = Trained(tiny_model, tmp_path, "asleep", on_hang="stop")
    assert trained.start().wait(timeout=300) == 6
    (failed,) = trained.events(Failed)
    assert isinstance(failed, Failed)
    assert "hung" in failed.message
    assert "step 8" in failed.message
    assert "--resume" in failed.hint
    assert str(trained.run.log) in failed.hint


@pytest.mark.slow
def test_engine_stopped_by_signal_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    """And one that hangs is only warned of where the recipe says `wait`."""
    trained = Trained(tiny_model, tmp_path, "asleep", on_hang="wait")
    supervisor = trained.start()
    until = time.monotonic() + 300
    while not any("left alone" in event.message for event in trained.events(Warned)):  # type: ignore[attr-defined]
        assert time.monotonic() < until
        time.sleep(0.1)
    assert supervisor.poll() is None
    assert trained.run.alive()
    os.killpg(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
