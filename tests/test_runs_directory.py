"""Run directories: made, found, listed and removed, whatever has happened to them."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.config.load import Recipe, load_text
from engine.errors import ConfigError, MachineError
from engine.hardware.probe import probe
from engine.runs.directory import lock
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Finished, Started
from engine.runs.directory.limits import Limits, halved
from engine.runs.directory.provenance import at_start
from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from tests.plan_fixtures import CPU, CUDA

TEXT = "# mine\nname: demo\nmodel: {base: starter}\ndata: {train: starter}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_text(TEXT, tmp_path / "train.yml")


def test_new_run_holds_source_and_resolved_recipe(recipe: Recipe) -> None:
    run = create_run(recipe)
    assert (run.folder / "source.yml").read_text() == TEXT
    assert run.config == recipe.config
    assert run.id.endswith("-demo")
    assert run.state().status == "new"
    assert not run.alive()
    assert run.plan is None


def test_runs_of_same_second_get_own_ids(recipe: Recipe) -> None:
    made: list[Run] = []
    threads = [threading.Thread(target=lambda: made.append(create_run(recipe))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.id for run in made}) == 8
    assert len(Run.all()) == 8


def test_provenance_says_where_the_run_comes_from(recipe: Recipe) -> None:
    run = create_run(recipe)
    run.record({"extra": 1})
    assert run.provenance["id"] == run.id
    assert run.provenance["command"]
    assert run.provenance["extra"] == 1


def test_run_elsewhere_is_listed_and_found(recipe: Recipe, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where" / "mine"
    run = create_run(recipe, elsewhere)
    assert [found.folder for found in Run.all()] == [elsewhere]
    assert Run.open(run.id).folder == elsewhere
    assert Run.open(elsewhere).id == run.id
    run.remove()
    assert Run.all() == []
    assert not elsewhere.exists()


def test_the_recipe_can_name_the_runs_folder(tmp_path: Path) -> None:
    recipe = load_text(TEXT + "output: {dir: out}\n", tmp_path / "train.yml")
    assert create_run(recipe).folder == tmp_path / "out"


def test_nonempty_run_folder_is_not_taken(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        create_run(recipe, tmp_path / "full")
    run = create_run(recipe, tmp_path / "run")
    with pytest.raises(ConfigError) as error:
        create_run(recipe, run.folder)
    assert "--resume" in error.value.hint


def test_unmakeable_run_folder_is_machine_error(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file"):
        create_run(recipe, tmp_path / "file" / "run")


def test_run_is_opened_by_any_reference(recipe: Recipe) -> None:
    """An id, a prefix, a path, a checkpoint, or none at all."""
    run = create_run(recipe)
    checkpoint = run.checkpoints / "step-000010"
    checkpoint.mkdir()
    assert Run.open().id == run.id
    assert Run.open(run.id[:12]).id == run.id
    assert Run.open(run.folder).id == run.id
    assert Run.open(str(run.folder) + "/").id == run.id
    assert Run.open(checkpoint).id == run.id
    assert Run.open(checkpoint).checkpoint == checkpoint
    assert Run.open(run.id).checkpoint is None


def test_project_with_recipe_is_no_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.yml").write_text(TEXT)
    run = create_run(recipe)
    monkeypatch.chdir(tmp_path / "project")
    assert Run.open(run.id[:12]).id == run.id
    for reference in (".", str(tmp_path / "project"), "train.yml"):
        with pytest.raises(ConfigError):
            Run.open(reference)


def test_bad_run_reference_says_what_exists(recipe: Recipe) -> None:
    """It fits nothing or too much."""
    with pytest.raises(ConfigError, match=r"no runs in .* yet"):
        Run.open()
    first, second = create_run(recipe), create_run(recipe)
    with pytest.raises(ConfigError) as nothing:
        Run.open("zebra")
    assert first.id in nothing.value.hint
    with pytest.raises(ConfigError) as several:
        Run.open(first.id[:8])
    assert first.id in several.value.message
    assert second.id in several.value.message


def test_the_list_survives_deleted_and_damaged_runs(recipe: Recipe, ft_home: Path, tmp_path: Path) -> None:
    gone = create_run(recipe, tmp_path / "gone")
    for path in sorted(gone.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    gone.folder.rmdir()
    damaged = create_run(recipe)
    (damaged.folder / "train.yml").write_bytes(b"\xff\x00: [")
    (damaged.folder / "plan.json").write_text('{"memory": []}')
    (damaged.folder / "provenance.json").write_bytes(b"\xff")
    damaged.events_file.write_bytes(b"\x00garbage\n" * 5)
    for name, content in (("note.txt", b"hello"), ("binary", b"\xff\x00/"), ("empty", b"")):
        (ft_home / "runs" / name).write_bytes(content)
    (ft_home / "runs" / "folder").mkdir()
    (ft_home / "runs" / "loop").symlink_to(ft_home / "runs" / "loop")
    assert [run.id for run in Run.all()] == [damaged.id]
    assert damaged.state().status == "new"
    assert damaged.plan is None
    assert damaged.provenance == {}
    with pytest.raises(ConfigError):
        _ = damaged.config


def test_alive_means_that_the_lock_is_held(recipe: Recipe) -> None:
    run = create_run(recipe)
    run.emit(Started(run=run.id, pid=1))
    assert run.state().status == "crashed"
    with run.locked():
        assert run.alive()
        assert run.state().status == "running"
        with pytest.raises(ConfigError, match="training already"), run.locked():
            pass
        with pytest.raises(ConfigError, match="training already"):
            run.remove()
    assert not run.alive()


def test_a_killed_holder_gives_the_lock_back(recipe: Recipe) -> None:
    run = create_run(recipe)
    code = "import sys, time; from pathlib import Path; from engine.runs.directory import lock\n"
    code += "assert lock.take(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(run.lock_file)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert run.alive()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not run.alive()


def test_checking_run_alive_does_not_block_engine(recipe: Recipe) -> None:
    run = create_run(recipe)
    run.lock_file.touch()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            run.alive()

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(50):
            handle = lock.take(run.lock_file)
            assert handle is not None
            with lock.holding(handle):
                pass
    finally:
        done.set()
        asker.join()


def test_failed_atomic_write_keeps_old_file(tmp_path: Path) -> None:
    """No litter stays."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "file"
    write_atomic(path, "old")
    with pytest.raises(AttributeError):
        write_atomic(path, None)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert [entry.name for entry in folder.iterdir()] == ["file"]


def test_a_finished_run_says_its_step(recipe: Recipe) -> None:
    run = create_run(recipe)
    run.emit(Started(run=run.id, pid=1))
    run.emit(Finished(reason="completed", step=7))
    state = run.state()
    assert (state.status, state.step, state.reason) == ("completed", 7, "completed")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"micro_batch_rows": "x"}', "\udcff"])
def test_a_broken_limits_file_limits_nothing(recipe: Recipe, content: str) -> None:
    run = create_run(recipe)
    (run.folder / "limits.json").write_text(content, errors="replace")
    assert Limits.of(run) == Limits()


def test_limits_outlive_the_engine_and_say_why(recipe: Recipe, tmp_path: Path) -> None:
    plan = a_plan(rows=8, tokens=1000)
    run = create_run(recipe)
    limits = halved(plan)
    assert limits == Limits(4, 500)
    limits.save(run)
    assert Limits.of(run) == limits
    assert "ran out" in Limits.of(run).explained(plan).reasons["batch"]
    assert Limits().explained(plan) == plan
    assert halved(a_plan(rows=1, tokens=1000)) is None


def a_plan(rows: int, tokens: int):  # type: ignore[no-untyped-def]
    """A plan of which only the micro-batch matters here."""
    from engine.backend_spec import MemoryPlan
    from engine.planning.plan import Decisions, Estimate, Plan, Work

    parts = MemoryPlan(weights=1, adapter=1, gradients=1, optimizer=1, activations=1, logits=1, overhead=1)
    decisions = Decisions(
        backend="peft", device="cpu", weights_dtype="bf16", compute_dtype="bf16", attention="sdpa",
        packing=False, micro_batch_rows=rows, micro_batch_tokens=tokens, effective_batch_size=16,
        gradient_checkpointing=False,
    )  # fmt: skip
    work = Work(
        epochs=1.0, steps=10, examples=100, tokens_per_epoch=1000, trained_tokens_per_epoch=500, longest=50,
        sampled=False,
    )  # fmt: skip
    return Plan(decisions, work, parts, Estimate(None, 100, "yes"))


def test_provenance_records_the_machine_as_is(recipe: Recipe) -> None:
    run, facts = create_run(recipe), at_start(probe())
    run.record(facts)
    assert json.loads((run.folder / "provenance.json").read_text())["machine"] == facts["machine"]


def test_gpu_stands_where_earlier_versions_wrote_it() -> None:
    machine = at_start(CUDA)["machine"]
    assert (machine["gpu_name"], machine["gpu_bytes"]) == ("NVIDIA RTX 3090", 24_000_000_000)
    assert machine["gpus"][0]["capability"] == machine["gpu_capability"] == [8, 6]
    assert at_start(CPU)["machine"]["gpu_name"] is None


def test_provenance_is_json_for_people(recipe: Recipe) -> None:
    run = create_run(recipe)
    body = json.loads((run.folder / "provenance.json").read_text())
    assert list(body) == sorted(body)


@pytest.mark.parametrize("time", [1e300, float("nan"), -1e18])
def test_impossible_run_start_time_is_told(recipe: Recipe, time: float) -> None:
    run = create_run(recipe)
    run.emit(Started(run=run.id, pid=1, t=time))
    with pytest.raises(ConfigError, match="when the run was started"):
        run.begun()
