"""`ft evaluate`: the scores of a trained model on rows that it was not trained on."""

from pathlib import Path
from typing import Annotated

import typer

from engine.process.launcher import start
from ft.commands.trained import ModelArgument, reference_of
from ft.console import print_json, say
from ft.live import Plain
from ft.watch import follow_to_end, interrupts_wait


def evaluate(
    model: ModelArgument = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="SOURCE", help="Rows to score on; the run's validation rows if left out."
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", metavar="NAMES", help="Metrics, with commas between them; repeatable."),
    ] = None,
    max_questions: Annotated[
        int | None,
        typer.Option("--max-questions", min=1, help="Most prompts that are answered for metrics of answers."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a trained model on its validation rows, or on others. Stdout is the scores; ctrl-c leaves none."""
    from engine.config.recipe_paths import data_source
    from engine.jobs.evaluate import Evaluation
    from engine.metrics.registry import describe
    from engine.runs.directory.trained_model import TrainedModel

    reference = reference_of(model)
    named = tuple(name.strip() for part in metrics or () for name in part.split(",")) or None
    rows = data_source(data, Path.cwd()) if data else None
    evaluation = Evaluation(reference, rows, named, max_questions)
    evaluation.check(TrainedModel.find(reference))
    with interrupts_wait() as interrupted:
        run = evaluation.create()
        say(f"Evaluating {Path(reference).name} …")
        code = follow_to_end(start(run), Plain(), interrupted)
    if code:
        raise typer.Exit(code)
    event = run.evaluations()[-1]
    if json:
        print_json({"run": run.id, "model": reference, "step": event.step, "metrics": dict(event.scores)})
        return
    width = max(len(describe(name).title) for name in event.scores)
    for name, value in event.scores.items():
        print(f"{describe(name).title:<{width}}   {describe(name).written(value)}")
