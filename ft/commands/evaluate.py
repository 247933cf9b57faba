"""`ft evaluate`: the scores of a trained model on rows that it was not trained on."""

import json as json_lines
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import CheckFailed, ConfigError, MachineError
from engine.process.launcher import start
from engine.runs.directory.run import Run
from ft.commands.trained import CheckpointOption, JsonOption, ModelArgument, reference_of
from ft.console import print_json, say, show_error
from ft.live import Plain
from ft.watch import follow_to_end, interrupts_wait

if TYPE_CHECKING:
    from engine.evaluation.gates import Limit
    from engine.jobs.evaluate import Evaluation

CHECK_FAILED = CheckFailed.exit_code


DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="SOURCE", help="Rows to score on; the run's validation rows if left out."),
]
MetricsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics", metavar="NAMES", help="Metrics or a Python file, with commas between; repeatable."
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option("--against", metavar="base|RUN", help="Compare with the untrained model, or another."),
]
ForgettingOption = Annotated[
    bool, typer.Option("--forgetting", help="Also score general rows that were not the task.")
]
RowsOption = Annotated[
    int, typer.Option("--rows", min=0, help="Rows to show where the two models differ most.")
]
MaxQuestionsOption = Annotated[
    int | None,
    typer.Option("--max-questions", min=1, help="Most prompts that are answered for metrics of answers."),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="Most tokens of an answer; a little over the longest expected."),
]
FailUnderOption = Annotated[
    list[str] | None,
    typer.Option("--fail-under", metavar="METRIC=VALUE", help="Exit with 1 where it is worse; repeatable."),
]
FailIfWorseThanOption = Annotated[
    str | None,
    typer.Option(
        "--fail-if-worse-than", metavar="RUN", help="Exit with 1 where a score is worse than RUN's."
    ),
]
TasksOption = Annotated[
    str | None,
    typer.Option(
        "--tasks", metavar="NAMES", help="Tasks of lm-eval, or YAML files of yours, with commas between."
    ),
]
JudgeOption = Annotated[
    str | None,
    typer.Option("--judge", metavar="URL", help="An OpenAI-compatible server judges each pair of answers."),
]
JudgeModelOption = Annotated[
    str | None,
    typer.Option("--judge-model", metavar="NAME", help="Model of the judge; its first if left out."),
]
JudgeKeyOption = Annotated[
    str | None, typer.Option("--judge-key", metavar="NAME", help="Secret that is the judge's API key.")
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write the report, one page, there too.")
]


def evaluate(
    model: ModelArgument = None,
    checkpoint: CheckpointOption = None,
    data: DataOption = None,
    metrics: MetricsOption = None,
    against: AgainstOption = None,
    forgetting: ForgettingOption = False,
    rows: RowsOption = 5,
    max_questions: MaxQuestionsOption = None,
    max_tokens: MaxTokensOption = None,
    fail_under: FailUnderOption = None,
    fail_if_worse_than: FailIfWorseThanOption = None,
    tasks: TasksOption = None,
    judge: JudgeOption = None,
    judge_model: JudgeModelOption = None,
    judge_key: JudgeKeyOption = None,
    html: HtmlOption = None,
    json: JsonOption = False,
) -> None:
    """Score a trained model on its validation rows, or on others. Stdout is the scores; ctrl-c leaves none."""
    from engine.config.recipe_paths import data_source
    from engine.evaluation.gates import Limit
    from engine.jobs.evaluate import Evaluation
    from engine.runs.directory.trained_model import TrainedModel

    reference = reference_of(model, checkpoint)
    evaluation = Evaluation(
        reference,
        data_source(data, Path.cwd()) if data else None,
        _named(metrics),
        max_questions,
        against if against in (None, "base") else reference_of(against),
        forgetting, max_tokens, rows, judge, judge_model, judge_key, _tasks(tasks),
    )  # fmt: skip
    limits = [Limit.parse(text) for text in fail_under or ()]
    evaluation.check(TrainedModel.find(reference))
    _check_limits(evaluation, limits)
    earlier = Run.open(reference_of(fail_if_worse_than)) if fail_if_worse_than else None
    if earlier is not None:
        _check_earlier(earlier, data)
    _check_html(html)
    with interrupts_wait() as interrupted:
        run = evaluation.create()
        say(f"Evaluating {Path(reference).name} …")
        code = follow_to_end(start(run), Plain(), interrupted)
    if code:
        raise typer.Exit(code)
    _report(run, evaluation, html, json)
    failed = _failures(run, limits, earlier)
    for sentence in failed:
        show_error(CheckFailed(sentence))
    if failed:
        raise typer.Exit(CHECK_FAILED)


def _check_html(html: Path | None) -> None:
    """Raise ConfigError where the page cannot be written, before it is made."""
    if html is not None and not html.expanduser().parent.is_dir():
        raise ConfigError(f"--html {html}: its folder is not there.", "Make the folder first.")
    if html is not None and html.expanduser().is_dir():
        raise ConfigError(f"--html {html} is a folder.", f"Name a file in it: --html {html / 'report.html'}")


def _named(metrics: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of metrics, of lists with commas between them; None without the option. Raises ConfigError."""
    from engine.jobs.evaluation_options import metric_names

    if metrics is None:
        return None
    found = metric_names(filter(None, (name.strip() for part in metrics for name in part.split(","))))
    if not found:
        raise ConfigError("--metrics names no metric.", "As in --metrics exact_match,chrf")
    return found


def _tasks(tasks: str | None) -> str | None:
    """The tasks, with paths made absolute."""
    if tasks is None:
        return None
    from engine.evaluation.harness import names

    found = names(tasks)
    if not found:
        raise ConfigError("--tasks names no task.", "As in --tasks arc_easy,hellaswag or --tasks ./mine.yaml")
    return ",".join(found)


def _check_limits(evaluation: "Evaluation", limits: "Sequence[Limit]") -> None:
    """Raise ConfigError before the work where a limit is of a metric that will not be there."""
    from engine.metrics import registry
    from engine.runs.directory.trained_model import TrainedModel

    config = evaluation.recipe(TrainedModel.find(evaluation.model))
    named = [registry.load(name) for name in ("eval_loss", "perplexity", *config.evaluation.metrics)]
    for limit in limits:
        limit.check({metric.name: metric for metric in named})


def _check_earlier(earlier: Run, data: str | None) -> None:
    """Raise ConfigError where an earlier run has no scores, or has them on other rows for certain."""
    if not earlier.evaluations():
        raise ConfigError(f"Run {earlier.id} has no evaluation.", f"Make one: ft evaluate {earlier.id}")
    if data is not None and earlier.kind == "train":
        raise ConfigError(
            f"Run {earlier.id} was scored on its own validation rows, not on {data}.",
            f"Score it on them first, and name that evaluation: ft evaluate {earlier.id} --data {data}",
        )


def _report(run: Run, evaluation: "Evaluation", html: Path | None, json: bool) -> None:
    """Print the result, and copy the page."""
    from engine.evaluation.files import REPORT
    from ft import evaluation_text

    result = _result(run)
    if html is not None:
        try:
            shutil.copyfile(run.folder / REPORT, html.expanduser())
        except OSError as error:
            raise MachineError(f"Cannot write {html}: {error.strerror}.", "Choose another --html.") from error
    if json:
        scores = {name: line["value"] for name, line in result["metrics"].items()}
        head = {"run": run.id, "model": evaluation.model, "step": result["step"], "metrics": scores}
        more = {name: value for name, value in result.items() if name not in ("version", "model", "step")}
        print_json(head | {"lines": more.pop("metrics")} | more | {"folder": str(run.folder)})
        return
    for line in evaluation_text.lines(result):
        print(line)
    say(f"Rows and report: {run.folder}")


def _failures(run: Run, limits: "Sequence[Limit]", earlier: Run | None) -> list[str]:
    """A sentence for each gate that is not passed."""
    from engine.evaluation.files import RESULT
    from engine.evaluation.gates import below, recorded, worse_than
    from ft.evaluation_text import metric_of

    result = _result(run)
    scores = {name: line["value"] for name, line in result["metrics"].items()}
    metrics = {name: metric_of(name, line) for name, line in result["metrics"].items()}
    found = below(limits, scores, metrics)
    if earlier is not None:
        before = _result(earlier) if (earlier.folder / RESULT).is_file() else None
        if before and before["fingerprint"] != result["fingerprint"]:
            raise ConfigError(
                f"Run {earlier.id} was scored on other rows.",
                "Score both on the same: --data, --max-questions",
            )
        last = earlier.evaluations()[-1]
        found += worse_than(recorded(before, last.scores), earlier.id, scores, metrics)
    return found


def _result(run: Run) -> Mapping[str, Any]:
    """The result of an evaluation. Raises ConfigError where it is damaged."""
    from engine.evaluation.files import RESULT

    try:
        body = json_lines.loads((run.folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{run.folder / RESULT} cannot be read: {error}.", "Evaluate again.") from error
    return body if isinstance(body, dict) else {}
