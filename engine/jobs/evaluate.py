"""Job `evaluate`: a trained model, or one as it is, scored on rows that it was not trained on."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine import addresses, plugins
from engine.backend_spec import spec_of
from engine.errors import ConfigError, DataError, MachineError
from engine.jobs.base import JobContext, secrets_of
from engine.metrics import registry as metric_registry
from engine.metrics.base import Metric, Results, scored
from engine.metrics.evaluation.perplexity import METRIC as PERPLEXITY
from engine.metrics.evaluation.perplexity import perplexity
from engine.runs.directory import registry
from engine.runs.directory.create import create_job
from engine.runs.directory.events import Eval, Phase, Warned
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.backends.base import Model
    from engine.config.schema import TrainConfig
    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.data.types import ValidationRows
    from engine.planning.plan import Plan

BATCH_TOKENS = 4096
"""Most tokens in a batch that is scored, so that its activations stay small beside the weights."""


@dataclass(frozen=True)
class Evaluation:
    """Options of the job: what `TrainedModel.find` takes, a source of rows, names of metrics, and most prompts.

    The source is one as `recipe_paths.data_source` gives it, a file by its absolute path. What is None is taken from
    the recipe that trained the model: its validation rows, its metrics, its prompts.
    """

    model: str
    data: str | None = None
    metrics: tuple[str, ...] | None = None
    max_questions: int | None = None

    def create(self) -> Run:
        """A new run for this evaluation. Raises MachineError where its folder cannot be made."""
        data, secret = addresses.without_secrets(self.data)
        words = ["ft", "evaluate", self.model]
        words += ["--data", data] if data else []
        words += ["--metrics", ",".join(self.metrics)] if self.metrics else []
        words += ["--max-questions", str(self.max_questions)] if self.max_questions else []
        options = asdict(self) | {"data": data, "again": shlex.join(words)}
        trained_by = TrainedModel.find(self.model).run
        name = registry.name_in(trained_by.name) if trained_by else Path(self.model).name
        run = create_job("evaluate", f"evaluate-{name}", options)
        run.addresses = secret
        return run

    @staticmethod
    def of(run: Run) -> "Evaluation":
        """The evaluation that a run was created for. Raises ConfigError where its job.json is damaged."""
        try:
            given = {name: run.job[name] for name in ("model", "data", "metrics", "max_questions")}
            metrics = given["metrics"] and tuple(map(str, given["metrics"]))
            return Evaluation(**given | {"model": str(given["model"]), "metrics": metrics})
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{run.folder / 'job.json'} is damaged: {error}.", "Start the evaluation again."
            ) from error

    def check(self, model: TrainedModel) -> None:
        """Raise ConfigError where there is no such metric, or no rows to score the model on."""
        known = (*metric_registry.computed(), *plugins.installed(plugins.METRICS))
        for name in self.metrics or ():
            if name not in known:
                raise ConfigError(f"There is no metric {name!r}.", f"There are: {', '.join(known)}.")
        self.recipe(model)

    def recipe(self, model: TrainedModel) -> "TrainConfig":
        """The recipe by which rows are read and scored: that of the model's run, with what is given here in its place.

        Raises ConfigError where a model that no run has trained is to be scored on rows that are not given.
        """
        if model.run is not None:
            config = Run.open(model.run).config
        elif self.data is not None:
            config = _recipe_of(model, self.data)
        else:
            raise ConfigError(
                f"No run says which rows {self.model} is to be scored on.", "Name them: --data FILE"
            )
        if self.data is not None:
            only = {"train": self.data, "validation": 0.0, "max_samples": None}
            config = config.model_copy(update={"data": config.data.model_copy(update=only)})
        wanted = {"metrics": self.metrics and list(self.metrics), "max_questions": self.max_questions}
        given = {name: value for name, value in wanted.items() if value is not None}
        return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=given)})


def run(context: JobContext) -> str:
    """Score the model, and report it as an evaluation at the step of its weights; returns `completed`.

    Raises ConfigError, DataError or ModelError where it cannot be scored, Stopped where a person stops it.
    """
    evaluation = Evaluation.of(context.run)
    model = TrainedModel.find(evaluation.model)
    config = evaluation.recipe(model)
    # Perplexity is in every evaluation, and has a field of its own there.
    metrics = [metric_registry.load(name) for name in config.evaluation.metrics if name != PERPLEXITY.name]
    base = _base_folder(context, model)
    rows = _rows(context, evaluation, config, model, base)
    context.poll()
    loaded, tokenizer, positions = _load(context, config, model, base)
    results = _results(context, config, metrics, rows, loaded, tokenizer, positions)
    assert results.loss is not None
    found = scored(metrics, results)
    for metric in metrics:
        if metric.name not in found:
            message = f"{metric.title} cannot be computed: none of the rows has what it needs."
            context.run.emit(Warned(message=message, hint="A metric of answers needs rows with prompts."))
    step = model.step or 0
    context.run.emit(Eval(step=step, loss=results.loss, perplexity=perplexity(results), metrics=found))
    return "completed"


def _recipe_of(model: TrainedModel, data: str) -> "TrainConfig":
    """A recipe for a model that no run has trained."""
    from engine.config.load import load_text

    of_model = {"base": str(model.base), "chat_template": model.spec.chat_template}
    body = {"model": of_model, "data": {"train": data, "validation": 0}}
    return load_text(json.dumps(body), Path("train.yml").absolute()).config


def needed_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens without which an evaluation may fail."""
    evaluation = Evaluation.of(run)
    return secrets_of(evaluation.recipe(TrainedModel.find(evaluation.model)))


def _base_folder(context: JobContext, model: TrainedModel) -> Path:
    from engine.models.resolve import resolve

    context.run.emit(Phase(name="loading", note=f"finding {model.base}"))
    context.poll()
    if isinstance(model.base, Path):
        return model.base
    return resolve(model.base, model.revision, context.loading()).folder


def _rows(
    context: JobContext, evaluation: Evaluation, config: "TrainConfig", model: TrainedModel, base: Path
) -> "ValidationRows":
    """The rows to score. Raises DataError where the recipe that trained the model has kept none aside."""
    from engine.data.prepare import prepare, validation_rows
    from engine.data.sources.resolve import fetch
    from engine.data.types import ValidationRows
    from engine.training.resume import same_files

    def progress(done: int, total: int) -> None:
        context.run.emit(Phase(name="tokenising", done=done, total=total))
        context.poll()

    if evaluation.data is not None:
        sources = fetch(config.data, context.loading()).unpacked()
        rows = validation_rows(config, base, sources, progress)
    else:
        assert model.run is not None
        trained = Run.open(model.run)
        config = same_files(trained, config)
        sources = fetch(config.data, context.loading()).unpacked()
        dataset = prepare(config, base, progress, lint=True, day=trained.begun(), sources=sources)
        if dataset.validation is None or not len(dataset.validation):
            raise DataError(f"Run {trained.id} has no validation rows.", "Name rows of your own: --data FILE")
        known = trained.provenance.get("data") or {}
        if known.get("fingerprint") not in (None, dataset.fingerprint):
            message = (
                f"The data of {trained.id} has changed since it was trained: "
                "rows that now validate may have been trained on."
            )
            context.run.emit(Warned(message=message, hint="Put the old file back, or use --data FILE."))
        rows = ValidationRows(dataset.validation, dataset.questions)
    rows = replace(rows, examples=rows.examples.good())
    for note in rows.notes:
        context.run.emit(Phase(name="tokenising", note=note))
    return rows


def _load(
    context: JobContext, config: "TrainConfig", model: TrainedModel, base: Path
) -> "tuple[Model, Tokenizer, int | None]":
    """The model, its tokenizer, and the most tokens of a prompt with its answer.

    It computes as it was trained, in that precision and with those quantised weights, so that its scores are those of
    the run's own evaluations. Where this machine cannot, and for a model of no run, it is loaded as for the chat.
    """
    from engine.inference.placement import answering

    plan = _plan(context, model)
    spec = spec_of(plan.backend) if plan else answering(base, model.adapter)
    spec.before_import()
    encoder = model.spec.encoder(base)
    context.run.emit(Phase(name="loading", note=Path(model.base).name))
    context.poll()
    spec.before_load()
    if plan is not None:
        from engine.backends import load_trainer

        loaded = load_trainer(plan, config, base, adapter=model.adapter).model
    else:
        assert spec.open is not None
        loaded = spec.open(base, model.adapter, encoder.tokenizer.new, config.model.trust_remote_code)
    context.poll()
    return loaded, encoder.tokenizer, encoder.room.positions


def _plan(context: JobContext, model: TrainedModel) -> "Plan | None":
    """The plan that the model was trained by; None where there is none, or where this machine cannot follow it."""
    from engine.hardware.probe import probe
    from engine.planning.backend_choice import missing

    plan = Run.open(model.run).plan if model.run else None
    if plan is None:
        return None
    machine = probe()
    try:
        spec = spec_of(plan.backend)
        here = spec.device_on(machine) == plan.device and missing(spec, machine) is None
    except MachineError:
        here = False
    if here:
        return plan
    message = f"It was trained by {plan.backend} on {plan.device} in {plan.compute_dtype}, which is not possible here."
    hint = (
        "It is scored in the precision of this machine: expect small differences from the run's evaluations."
    )
    context.run.emit(Warned(message=message, hint=hint))
    return None


def _results(
    context: JobContext,
    config: "TrainConfig",
    metrics: Sequence[Metric],
    rows: "ValidationRows",
    model: "Model",
    tokenizer: "Tokenizer",
    positions: int | None,
) -> Results:
    """Log-probabilities and answers that the metrics are computed from."""
    import numpy as np

    from engine.data.batching import Cut, micro_batches
    from engine.evaluation.scores import ANSWER_ROWS, answer_all, log_probabilities, within_memory

    def poll(done: int, total: int) -> None:
        context.run.emit(Phase(name="evaluating", done=done, total=total))
        context.poll()

    def smaller(count: int) -> None:
        context.run.emit(Warned(message=f"Out of memory: continuing with {count} rows at a time."))

    def score(count: int) -> list[float]:
        tokens = BATCH_TOKENS * count // ANSWER_ROWS
        cut = Cut(count, tokens, model.supports_packing)
        batches = micro_batches(rows.examples, np.arange(len(rows.examples)), cut)
        return log_probabilities(model, batches, poll)

    scores, count = within_memory(score, ANSWER_ROWS, smaller)
    questions = rows.questions[: config.evaluation.max_questions]
    answers = None
    if questions and any("answers" in metric.needs for metric in metrics):
        answers, _ = within_memory(
            lambda count: answer_all(model, tokenizer, questions, poll, context.poll, count, positions),
            count,
            smaller,
        )
    return Results(
        loss=-float(np.mean(scores)),
        answers=answers,
        references=[question.answer for question in questions],
        log_probabilities=scores,
    )
