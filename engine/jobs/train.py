"""Job `train`: from the recipe to a trained adapter or model."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import DataError, FtError, OutOfMemoryError
from engine.hardware.sharing import Sharing
from engine.jobs.base import JobContext
from engine.models.local import require_regular_files
from engine.runs.directory import skim
from engine.runs.directory.events import Phase, Warned
from engine.runs.directory.limits import Limits
from engine.runs.directory.provenance import at_start
from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from engine.training import resume as resuming
from engine.units import size

if TYPE_CHECKING:
    from engine.backends.result_files import ResultFiles
    from engine.config.schema import TrainConfig
    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.data.types import Dataset
    from engine.models.resolve import LocalModel
    from engine.models.saved_adapter import SavedAdapter
    from engine.planning.backend_choice import Chosen
    from engine.planning.plan import Plan

SHARED = 0.1
"""A run that shared the CPU with other programs for more than this part of its time tells nothing of its speed."""


def run(context: JobContext) -> str:
    """Train as the run's recipe says; returns `completed`, `stopped` or `early_stopping`.

    Each stage takes what the one before has made. Raises FtError where it cannot continue, Stopped where a person stops
    it before its first step.
    """
    run, control, resume = context.run, context.control, context.resume
    config, sharing = run.config, Sharing()
    model = _resolve(context, config)
    if resume:
        require_regular_files(resume)
        config = resuming.same_files(run, resuming.same_backend(run, config))
    start = _start(run, config, model)
    chosen = _choose_backend(config, model)
    from engine.data.token_spec import TokenSpec
    from engine.data.tokenization.token_limits import check_samples

    encoder = TokenSpec.of(config).encoder(model.folder, run.begun())
    tokenizer = encoder.tokenizer
    check_samples(config, tokenizer, encoder.room)
    dataset = _prepare(context, config, model)
    if resume:
        resuming.same_data(run, dataset)
    _warn_of_others(run)
    plan = _plan(run, config, chosen, model, dataset, context.force, start)
    context.poll()

    run.emit(Phase(name="loading", note=f"{model.name} on {plan.device}"))
    chosen.spec.before_load()
    from engine.backends import load_trainer
    from engine.methods import method_named
    from engine.training.loop import train
    from engine.training.monitors import NeighbourWatch
    from engine.training.reference import reference_folder, with_reference

    objective = method_named(config.training.method).objective(config.method_config)
    adapter = start.folder if start else None
    same = resuming.same_layers(config, resume)
    trainer = load_trainer(plan, same, model.folder, objective, adapter=adapter)
    gc.collect()
    context.poll()
    files = _result_files(run, model, tokenizer)
    if trainer.model.spins:
        sharing.start()
    dataset = with_reference(dataset, objective, reference_folder(run, config, plan, dataset))
    try:
        watches = [NeighbourWatch(sharing).check]
        reason = train(
            run, config, plan, dataset, trainer, objective, tokenizer, files, control, resume, watches
        )
    finally:
        sharing.end()
    if sharing.portion < SHARED:
        _remember_speed(run, chosen, plan)
    _write_card(run, model, files)
    _clean_up(run)
    return reason


def _write_card(run: Run, model: "LocalModel", files: "ResultFiles") -> None:
    """Describe the result to whoever gets it; the result counts without that too."""
    from engine.publishing.card import publish_result

    try:
        publish_result(run, files.base, model.folder)
    except (FtError, OSError) as error:
        hint = f"The result is there without one. `ft push {run.id}` makes it again."
        run.emit(Warned(message=f"The model card could not be written: {error}", hint=hint))


def _clean_up(run: Run) -> None:
    """Free room where a person has chosen that for the end of trainings; the result counts without that too."""
    from engine.housekeeping.automatic import clean_after_training

    hint = "`ft storage clean` shows what could be freed, `ft storage automatic off` ends this."
    clean_after_training(
        lambda note: run.emit(Phase(name="saving", note=note)),
        lambda message: run.emit(Warned(message=message, hint=hint)),
    )


def _result_files(run: Run, model: "LocalModel", tokenizer: "Tokenizer") -> "ResultFiles":
    from engine.backends.result_files import ResultFiles
    from engine.models.published import PublishedBase

    base = PublishedBase.of(model, Path(str(run.provenance.get("folder", run.folder))))
    return ResultFiles(model.folder, base, tokenizer)


def _start(run: Run, config: "TrainConfig", model: "LocalModel") -> "SavedAdapter | None":
    """The adapter that the run starts from, as it was copied into the run; warns where it names another base."""
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
        run.emit(Warned(message=message, hint="Training continues from them, which works if they are alike."))
    elif not trained_on and not start.is_of(config.model.base):
        message = f"The adapter says that it was trained on {start.base}, and this run trains {model.name}."
        run.emit(Warned(message=message, hint="Make sure that they are the same model."))
    return start


def _warn_of_others(run: Run) -> None:
    """Warn of runs that train at the same time: they share processor and memory, and a plan counts what is free now."""
    alive = (other for other in Run.all() if other.folder != run.folder and other.alive())
    others = [other.id for other in alive if other.kind == "train"]
    if others:
        trains = f"{', '.join(others)} {'trains' if len(others) == 1 else 'train'}"
        message = f"{trains} on this machine too: each will be slower, and memory may run out."
        run.emit(Warned(message=message, hint=f"To stop the other one: ft stop {others[0]}"))


def _choose_backend(config: "TrainConfig", model: "LocalModel") -> "Chosen":
    """The backend that trains, with this process prepared for it before a library of models is imported."""
    from engine.hardware.probe import probe
    from engine.models.sizing import shape_of
    from engine.planning.backend_choice import choose_backend

    chosen = choose_backend(probe(), config, shape_of(model.folder))
    chosen.spec.before_import()
    return chosen


def _remember_speed(run: Run, chosen: "Chosen", plan: "Plan") -> None:
    """Let later plans estimate their time from what this run took."""
    from engine.hardware.speed import remember

    done = skim.read(run.events_file)
    if done.steps:
        under = chosen.spec.speed_key(plan.device, plan.compute_dtype)
        remember(under, plan.work.flops * done.steps / plan.steps, done.totals.seconds)


def _resolve(context: JobContext, config: "TrainConfig") -> "LocalModel":
    from engine.models.resolve import resolve

    context.run.emit(Phase(name="loading", note=f"finding {config.model.base}"))
    return resolve(config.model.base, config.model.revision, context.loading())


def _prepare(context: JobContext, config: "TrainConfig", model: "LocalModel") -> "Dataset":
    """The tokens to train on. Raises DataError for what the lint calls an error, unless forced."""
    from engine.data.prepare import prepare
    from engine.data.sources.resolve import fetch

    run = context.run

    def progress(done: int, total: int) -> None:
        run.emit(Phase(name="tokenising", done=done, total=total))
        context.poll()

    sources = fetch(config.data, context.loading()).unpacked()
    resuming.record_files(run, sources)
    run.emit(Phase(name="tokenising"))
    dataset = prepare(config, model.folder, progress, lint=True, day=run.begun(), sources=sources)
    for note in dataset.notes:
        run.emit(Phase(name="tokenising", note=note))
    errors = [finding for finding in dataset.findings if finding.severity == "error"]
    if errors and not context.force:
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
    chosen: "Chosen",
    model: "LocalModel",
    dataset: "Dataset",
    force: bool,
    start: "SavedAdapter | None",
) -> "Plan":
    """Settle the plan and write it down. Raises OutOfMemoryError where even the smallest does not fit."""
    from engine.hardware.probe import probe
    from engine.models.sizing import shape_of
    from engine.planning.batch import Caps
    from engine.planning.planner import make_plan
    from engine.planning.row_stats import RowStats

    machine, shape, rows = probe(), shape_of(model.folder), RowStats.of(dataset.train)
    limits, begun = Limits.of(run), run.plan
    if begun:  # another layout would round otherwise
        config = config.model_copy(update={"data": config.data.model_copy(update={"packing": begun.packing})})
    caps = Caps(limits.micro_batch_rows, limits.micro_batch_tokens)
    plan = limits.explained(make_plan(config, machine, chosen, shape, rows, caps, start))
    if begun:
        plan = plan.begun_as(begun)
    write_atomic(run.folder / "plan.json", plan.to_json())
    for notice in plan.warnings:
        run.emit(Warned(message=notice.message, hint=notice.hint))
    known = {"name": model.name, "fingerprint": model.fingerprint, "revision": model.revision}
    facts = at_start(machine) | {"model": known}
    about = {"fingerprint": dataset.fingerprint, "examples": rows.examples}
    run.record(facts | {"data": run.provenance.get("data", {}) | about})
    if plan.fits == "no" and not force:
        advice = " ".join(f"{change.rstrip('.')}." for change in plan.advice)
        message = (
            f"This needs {size(plan.memory.peak_bytes)} of memory; {size(plan.limit_bytes)} are available."
        )
        if config.training.batch_size == "auto":
            raise OutOfMemoryError(message, f"{advice} To try anyway: ft train --force".strip())
        run.emit(Warned(message=message, hint=advice or "batch_size: auto takes what fits."))
    return plan
