"""The engine process: takes a run directory from its recipe to a trained adapter.

    python -P -m engine.process.worker RUN_DIR [--resume CHECKPOINT] [--lock FD] [--force] [--secrets]

All that it has to say goes into the run's events; what libraries print goes to worker.log.
"""

import argparse
import faulthandler
import gc
import os
import re
import sys
import time
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from engine import secrets
from engine.clean_logs import redact_output
from engine.errors import DataError, FtError, MachineError, OutOfMemoryError
from engine.hardware.memory import is_exhaustion
from engine.hardware.sharing import Sharing
from engine.models.local import require_regular_files
from engine.process.hangs import STACKS_SIGNAL
from engine.process.postmortem import MEMORY_EXIT
from engine.runs.directory import lock, skim
from engine.runs.directory.control import Control
from engine.runs.directory.events import Failed, Finished, Phase, Started, Warned
from engine.runs.directory.limits import Limits
from engine.runs.directory.provenance import at_start
from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import CAUSES, explained
from engine.training import resume as resuming

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.config.schema import TrainConfig
    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.data.types import Dataset
    from engine.models.resolve import LocalModel
    from engine.models.saved_adapter import SavedAdapter
    from engine.planning.plan import Plan
    from engine.training.published_files import ResultFiles

TELL_EVERY_S = 0.5
"""Least time between two events of one download or conversion."""
SHARED = 0.1
"""A run that shared the CPU with other programs for more than this part of its time tells nothing of its speed."""
QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "true",
}


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """The person stopped the run before its first step."""


def main() -> int:
    """Run the engine; returns its exit code."""
    parser = argparse.ArgumentParser(prog="engine.process.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--lock", type=int, help="open file that has the run's lock already")
    parser.add_argument("--force", action="store_true", help="train even if the plan does not fit")
    parser.add_argument("--secrets", action="store_true", help="tokens come as one JSON line on stdin")
    arguments = parser.parse_args()
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    if arguments.secrets:
        secrets.adopt(secrets.receive(sys.stdin.buffer))
    redact_output()
    settle_libraries()
    run = Run.open(arguments.folder)
    with _lock(run, arguments.lock):
        return _run(run, arguments.resume, arguments.force)


def settle_libraries() -> None:
    """Keep the libraries of this process quiet, and from running code of the hub that no recipe names.

    Where the package `kernels` is installed, bitsandbytes and transformers fetch compiled code through it, the first
    as soon as it is imported. For a process of its own only, and before anything heavy is imported.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    no_module = cast(ModuleType, None)  # Python's own sign for one that is not there
    sys.modules.setdefault("kernels", no_module)


def _lock(run: Run, handle: int | None) -> AbstractContextManager[None]:
    if handle is None:
        return run.locked()
    os.set_inheritable(handle, False)  # else a child that outlives the engine would keep the run alive
    return lock.holding(handle)


def _run(run: Run, resume: Path | None, force: bool) -> int:
    """Train, and turn what comes of it into the last event and an exit code."""
    try:
        control = Control(run)
        control.install_signals()
        run.emit(Started(run=run.id, pid=os.getpid(), resumed_from=_step_of(resume)))
        try:
            reason = _train(run, control, resume, force)
        except Stopped:
            reason = "stopped"
        run.emit(Finished(reason=reason, step=run.state().step))
        return 0
    except Exception as error:
        traceback.print_exc()
        if is_exhaustion(error):  # also where it was taken for a file that does not load
            return MEMORY_EXIT
        if isinstance(error, FtError):
            return _fail(run, error)
        if isinstance(error, OSError) and error.errno in CAUSES:
            return _fail(run, explained(error))
        message = f"The engine failed: {type(error).__name__}: {error}"
        return _fail(run, FtError(message, f"The whole traceback is in {run.log}"))


def _fail(run: Run, error: FtError) -> int:
    try:
        run.emit(Failed(kind=error.kind, message=error.message, hint=error.hint))
    except MachineError:
        traceback.print_exc()  # a full disk takes no event; the exit code still says it
        return MachineError.exit_code
    return error.exit_code


def _train(run: Run, control: Control, resume: Path | None, force: bool) -> str:
    """From the recipe to the end of the loop; each stage takes what the one before has made."""
    config, sharing = run.config, Sharing()
    model = _resolve(run, config, control)
    if resume:
        require_regular_files(resume)
        config = resuming.same_files(run, resuming.same_backend(run, config))
    start = _start(run, config, model)
    _import_unsloth_first(config, model)
    from engine.data.token_spec import TokenSpec
    from engine.data.tokenization.token_limits import check_samples

    encoder = TokenSpec.of(config).encoder(model.folder, run.begun())
    tokenizer = encoder.tokenizer
    check_samples(config, tokenizer, encoder.room)
    dataset = _prepare(run, config, model, control, force)
    if resume:
        resuming.same_data(run, dataset)
    _warn_of_others(run)
    plan = _plan(run, config, model, dataset, force, start)
    _poll(control)

    run.emit(Phase(name="loading", note=f"{model.name} on {plan.device}"))
    if plan.backend == "mlx":
        from engine.backends.mlx.no_torch import without_torch

        without_torch()
    from engine.backends import load_backend
    from engine.training.busy_machine import NeighbourWatch
    from engine.training.loop import train

    backend = load_backend(
        plan, resuming.same_layers(config, resume), model.folder, adapter=start.folder if start else None
    )
    gc.collect()
    _poll(control)
    files = _result_files(run, model, tokenizer)
    if plan.device == "cpu" and plan.backend != "mlx":  # MLX's own threads do not spin
        sharing.start()
    try:
        watches = [NeighbourWatch(sharing).look]
        reason = train(run, config, plan, dataset, backend, tokenizer, files, control, resume, watches)
    finally:
        sharing.end()
    if sharing.portion < SHARED:
        _remember_speed(run, plan)
    return reason


def _result_files(run: Run, model: "LocalModel", tokenizer: "Tokenizer") -> "ResultFiles":
    from engine.models.published import PublishedBase
    from engine.training.published_files import ResultFiles

    base = PublishedBase.of(model, Path(str(run.provenance.get("folder", run.folder))))
    return ResultFiles(model.folder, base, tokenizer)


def _start(run: Run, config: "TrainConfig", model: "LocalModel") -> "SavedAdapter | None":
    """The adapter that the run starts from, as it was copied into the run; told where it names another base."""
    if config.adapter.from_ is None:
        return None
    from engine.data.tokenization.tokenizer import new_tokens
    from engine.models.local import read_config
    from engine.models.mlx_adapter import to_peft
    from engine.models.saved_adapter import read_adapter

    start = read_adapter(run.start)
    start.check(model.folder)
    start.check_tokens({token.id: token.text for token in new_tokens(model.folder, config.model.add_tokens)})
    start = to_peft(start, str(read_config(model.folder).get("model_type")))
    run.emit(Phase(name="loading", note=f"starting from the adapter of {config.adapter.from_}"))
    facts = run.provenance.get("start") or {}
    trained_on = facts.get("model") or {}
    if trained_on.get("fingerprint") not in (None, model.fingerprint):
        message = f"The adapter was trained on other weights than those of {model.name} here."
        run.emit(Warned(message=message, hint="It goes on from them all the same, if they are alike."))
    elif not trained_on and not start.is_of(config.model.base):
        message = f"The adapter says that it was trained on {start.base}, and this run trains {model.name}."
        run.emit(Warned(message=message, hint="Make sure that they are the same model."))
    return start


def _warn_of_others(run: Run) -> None:
    """Two runs at once get in each other's way, and a plan counts only the memory that is free while it is made."""
    others = [other.id for other in Run.all() if other.folder != run.folder and other.alive()]
    if others:
        trains = f"{', '.join(others)} {'trains' if len(others) == 1 else 'train'}"
        message = f"{trains} on this machine too: each will be slower, and memory may run out."
        run.emit(Warned(message=message, hint=f"To stop the other one: ft stop {others[0]}"))


def _import_unsloth_first(config: "TrainConfig", model: "LocalModel") -> None:
    """Unsloth changes transformers as it comes in, and transformers may be asked for a tokenizer before the plan."""
    from engine.hardware.probe import probe
    from engine.models.sizing import shape_of
    from engine.planning.backends import choose

    if choose(probe(), config, shape_of(model.folder)).backend == "unsloth":
        import engine.backends.unsloth.backend  # noqa: F401


def _remember_speed(run: Run, plan: "Plan") -> None:
    """Let later plans estimate their time from what this run took."""
    from engine.hardware.speed import key, remember

    done = skim.read(run.events_file)
    if done.steps:
        under = key(plan.backend, plan.device, plan.compute_dtype)
        remember(under, plan.flops * done.steps / plan.steps, done.totals.seconds)


def _resolve(run: Run, config: "TrainConfig", control: Control) -> "LocalModel":
    from engine.models.resolve import resolve

    run.emit(Phase(name="loading", note=f"finding {config.model.base}"))
    return resolve(config.model.base, config.model.revision, _loading(run, control))


def _loading(run: Run, control: Control) -> "Callable[[str, int, int], None]":
    """Progress of a download, told now and then; a command is obeyed in between."""
    told = 0.0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY_S or done == total:
            told = time.monotonic()
            run.emit(Phase(name="loading", done=done, total=total, note=what))
        _poll(control)

    return progress


def _prepare(
    run: Run, config: "TrainConfig", model: "LocalModel", control: Control, force: bool
) -> "Dataset":
    """The tokens to train on. Raises DataError for what the lint calls an error, unless forced."""
    from engine.data.prepare import prepare
    from engine.data.sources.resolve import fetch

    def progress(done: int, total: int) -> None:
        run.emit(Phase(name="tokenising", done=done, total=total))
        _poll(control)

    sources = fetch(config.data, _loading(run, control)).unpacked()
    resuming.record_files(run, sources)
    run.emit(Phase(name="tokenising"))
    dataset = prepare(config, model.folder, progress, lint=True, day=run.begun(), sources=sources)
    for note in dataset.notes:
        run.emit(Phase(name="tokenising", note=note))
    errors = [finding for finding in dataset.findings if finding.severity == "error"]
    if errors and not force:
        message = "\n  ".join(["The training data has errors:", *(finding.message for finding in errors)])
        look = "`ft data check` shows the rows. To train anyway: ft train --force"
        raise DataError(message, f"{errors[0].fix} {look}")
    for finding in dataset.findings:
        if finding.severity != "note":
            overridden = "--force overrides an error of the data: " if finding in errors else ""
            run.emit(Warned(message=f"{overridden}{finding.message}", hint=finding.fix))
    return dataset


def _plan(
    run: Run,
    config: "TrainConfig",
    model: "LocalModel",
    dataset: "Dataset",
    force: bool,
    start: "SavedAdapter | None",
) -> "Plan":
    """Settle the plan and write it down. Raises OutOfMemoryError where even the smallest does not fit."""
    from engine.hardware.probe import probe
    from engine.models.sizing import shape_of
    from engine.planning.plan import make_plan

    machine = probe()
    examples = dataset.train
    share = examples.trained_tokens / max(1, len(examples.tokens))
    limits, begun = Limits.of(run), run.plan
    if begun:  # another layout would round otherwise
        config = config.model_copy(update={"data": config.data.model_copy(update={"packing": begun.packing})})
    plan = limits.explained(
        make_plan(
            config,
            machine,
            shape_of(model.folder),
            examples.lengths,
            share,
            max_rows=limits.micro_batch_rows,
            max_tokens=limits.micro_batch_tokens,
            start=start,
        )
    )
    if begun:
        plan = plan.begun_as(begun)
    write_atomic(run.folder / "plan.json", plan.to_json())
    known = {"name": model.name, "fingerprint": model.fingerprint, "revision": model.revision}
    facts = at_start(machine) | {"model": known}
    about = {"fingerprint": dataset.fingerprint, "examples": len(examples)}
    run.record(facts | {"data": run.provenance.get("data", {}) | about})
    if plan.fits == "no" and not force:
        advice = " ".join(f"{change.rstrip('.')}." for change in plan.advice)
        message = f"This needs {_gb(plan.memory.peak_bytes)} of memory; {_gb(plan.limit_bytes)} can be had."
        if config.training.batch_size == "auto":
            raise OutOfMemoryError(message, f"{advice} To try all the same: ft train --force".strip())
        run.emit(Warned(message=message, hint=advice or "batch_size: auto takes what fits."))
    return plan


def _poll(control: Control) -> None:
    control.poll()
    if control.stop_requested:
        raise Stopped


def _step_of(checkpoint: Path | None) -> int | None:
    found = re.search(r"(\d+)$", checkpoint.name) if checkpoint else None
    return int(found[1]) if found else None


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


if __name__ == "__main__":
    sys.exit(main())
