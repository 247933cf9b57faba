"""Job `evaluate`: a trained model, or one as it is, scored on rows that it was not trained on, beside another."""

from contextlib import suppress

from engine.errors import FtError
from engine.evaluation.files import REPORT, RESULT, ROWS
from engine.jobs.base import JobContext, secrets_of, secrets_of_base
from engine.jobs.evaluation_options import Evaluation as Evaluation
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel


def run(context: JobContext) -> str:
    """Score the model, and report it as an evaluation at the step of its weights; returns `completed`.

    Raises ConfigError, DataError or ModelError where it cannot be scored, Stopped where a person stops it.
    """
    from engine.jobs.evaluation_work import evaluated  # not for the commands that import this module

    return evaluated(context)


def needed_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens without which an evaluation may fail."""
    evaluation = Evaluation.of(run)
    key = (evaluation.judge_key,) if evaluation.judge_key else ()
    return (*secrets_of(evaluation.recipe(TrainedModel.find(evaluation.model))), *key)


def useful_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens for the other model, which most often is here already."""
    evaluation = Evaluation.of(run)
    with suppress(FtError):  # a model that is not there: the job says so
        if other := evaluation.other(TrainedModel.find(evaluation.model)):
            return secrets_of_base(other.base)
    return ()


def clean_up(run: Run) -> None:
    """Remove files that were not finished."""
    for name in (ROWS, REPORT, RESULT):
        for left in run.folder.glob(f".{name}.*"):
            left.unlink(missing_ok=True)
