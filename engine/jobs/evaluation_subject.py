"""A model that an evaluation scores: its base, its rows in its own tokens, and the loaded weights."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backend_spec import spec_of
from engine.data.setting_advice import by_prepare, without_settings
from engine.errors import DataError, MachineError
from engine.evaluation import general
from engine.evaluation.measuring import Rows
from engine.jobs.base import JobContext
from engine.runs.directory.events import Phase, Warned
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.backends.base import Model
    from engine.config.schema import TrainConfig
    from engine.data.tokenization.row_encoder import RowEncoder
    from engine.data.types import ValidationRows
    from engine.planning.plan import Plan


class NoRowsError(DataError):
    """A run without validation rows, where no others were named."""


@dataclass(frozen=True)
class Subject:
    """A trained model, or one as it is; `config` is the recipe by which rows become its tokens."""

    context: JobContext
    model: TrainedModel
    config: "TrainConfig"

    @cached_property
    def folder(self) -> Path:
        """The base's folder, fetched where that is needed."""
        self.context.run.emit(Phase(name="loading", note=f"finding {self.model.base}"))
        self.context.poll()
        return self.model.base_folder(self.context.loading())

    @cached_property
    def encoder(self) -> "RowEncoder":
        """Encoder with the tokenizer and the template of training."""
        return self.model.spec.encoder(self.folder)

    def rows(self, trained: Run | None) -> Rows:
        """The rows to score: the validation rows of the run `trained`, or with None all that the recipe names.

        Raises NoRowsError where the recipe that trained the model has kept none aside.
        """
        source = None if trained else str(self.config.data.train)
        with without_settings(source):
            rows = self._validation(trained) if trained else self._named()
        for note in rows.notes:
            self.context.run.emit(Phase(name="tokenising", note=by_prepare(note, source)))
        return Rows(rows.examples.good(), rows.questions[: self.config.evaluation.max_questions])

    def _named(self) -> "ValidationRows":
        from engine.data.prepare import validation_rows
        from engine.data.sources.resolve import fetch

        sources = fetch(self.config.data, self.context.loading()).unpacked()
        return validation_rows(self.config, self.folder, sources, self._progress)

    def _validation(self, trained: Run) -> "ValidationRows":
        from engine.data.prepare import prepare
        from engine.data.sources.resolve import fetch
        from engine.data.types import ValidationRows
        from engine.training.resume import same_files

        config = same_files(trained, self.config)
        sources = fetch(config.data, self.context.loading()).unpacked()
        dataset = prepare(
            config, self.folder, self._progress, lint=True, day=trained.begun(), sources=sources
        )
        if dataset.validation is None or not len(dataset.validation):
            raise NoRowsError(
                f"Run {trained.id} has no validation rows.", "Name rows of your own: --data FILE"
            )
        known = trained.provenance.get("data") or {}
        own = self.model.run == trained.folder
        if own and known.get("fingerprint") not in (None, dataset.fingerprint):
            message = (
                f"The data of {trained.id} has changed since it was trained: "
                "rows that now validate may have been trained on."
            )
            self.context.run.emit(Warned(message=message, hint="Put the old file back, or use --data FILE."))
        return ValidationRows(dataset.validation, dataset.questions)

    def load(self) -> "Model":
        """The model in memory.

        It computes as it was trained, in that precision and with those quantised weights, so that its scores are those
        of the run's own evaluations. Where this machine cannot, and for a model of no run, it is loaded as for the
        chat.
        """
        from engine.inference.placement import answering

        plan = self._plan()
        spec = spec_of(plan.backend) if plan else answering(self.folder, self.model.adapter)
        spec.before_import()
        tokens = self.encoder.tokenizer.new
        self.context.run.emit(Phase(name="loading", note=Path(self.model.base).name))
        self.context.poll()
        spec.before_load()
        loaded: Model
        if plan is not None:
            from engine.backends import load_trainer

            loaded = load_trainer(plan, self.config, self.folder, adapter=self.model.adapter).model
        else:
            assert spec.open is not None
            loaded = spec.open(self.folder, self.model.adapter, tokens, self.config.model.trust_remote_code)
        self.context.poll()
        return loaded

    def general_rows(self) -> Rows:
        """Rows that were not the task, as this model reads them."""
        return replace(self, config=general.recipe(self.config)).rows(None)

    def _progress(self, done: int, total: int) -> None:
        self.context.run.emit(Phase(name="tokenising", done=done, total=total))
        self.context.poll()

    def _plan(self) -> "Plan | None":
        """The plan that the model was trained by; None where there is none, or where this machine cannot follow it."""
        from engine.hardware.probe import probe
        from engine.planning.backend_choice import missing

        plan = Run.open(self.model.run).plan if self.model.run else None
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
        message = (
            f"It was trained by {plan.backend} on {plan.device} in {plan.compute_dtype}, "
            "which is not possible here."
        )
        hint = "It is scored in the precision of this machine: expect small differences from the run's evaluations."
        self.context.run.emit(Warned(message=message, hint=hint))
        return None
