"""`ft data preview | check | stats | sample | prepare`: rows as the model will see them, and what is wrong."""

import json as jsonlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.config.load import load_recipe, load_text
from engine.errors import ConfigError
from ft.console import err, out, say

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.prepare import Progress
    from engine.data.types import Dataset

app = typer.Typer(
    help="Look at training data, check, count and convert it.", no_args_is_help=True, add_completion=False
)
File = Annotated[
    str | None, typer.Argument(metavar="FILE", help="Any source; left out, data.train of the recipe.")
]
RecipeFile = Annotated[
    Path, typer.Option("--recipe", metavar="PATH", help="The recipe to take all else from.")
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Whose tokenizer and template; as model.base.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT = Path("train.yml")


@app.command()
def preview(
    file: File = None,
    row: Annotated[int, typer.Option("--row", min=1, help="Which row, from 1.")] = 1,
    tokens: Annotated[bool, typer.Option("--tokens", help="Part the tokens.")] = False,
    recipe: RecipeFile = DEFAULT,
    model: Model = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Show a row as the model will see it: trained tokens, untrained tokens, special tokens."""
    from engine.data.first_look import view_of
    from engine.data.preview import Previews
    from engine.data.sources import as_text, training
    from engine.data.views import as_json
    from ft.commands.data_shown import row_title, shown_row

    config = _config(file, recipe, model, overrides)
    first = training(config.data)[0]
    source, view = as_text(first), view_of(config, first)
    _fetched(config)
    previews = Previews()
    with _told("counting rows") as progress:
        there = previews.reach(source, row - 1, view, lambda share: progress(round(share * 1000), 1000))
    if not there:
        known = previews.open(source, view).known
        raise ConfigError(f"{source} has no row {row}", f"It has {known:,} rows.")
    found = previews.show(source, [row - 1], view)
    if json:
        print(jsonlib.dumps(as_json(found[0]), indent=2, ensure_ascii=False))
        return
    say(row_title(found[0]))
    out().print(shown_row(found[0], tokens), soft_wrap=True)


@app.command()
def check(
    file: File = None,
    recipe: RecipeFile = DEFAULT,
    model: Model = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Look for what would waste a run. Exits with 1 where there is an error that stops one.

    The first rows of a large file are told of at once. Ctrl-c shows what was found so far.
    """
    from ft.commands.data_check import run

    config = _config(file, recipe, model, overrides)
    run(config, _fetched(config), json)


@app.command()
def stats(
    file: File = None,
    recipe: RecipeFile = DEFAULT,
    model: Model = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Count tokens: how long rows are, what a max_seq_length would cut, how much is trained."""
    from engine.data.prepare import encoder_of
    from engine.data.stats import stats as counted

    config = _config(file, recipe, model, overrides)
    # What a limit would cut is told of the rows as they are.
    whole = config.model_copy(update={"model": config.model.model_copy(update={"max_seq_length": 1_048_576})})
    size = encoder_of(config, _fetched(config)).tokenizer.vocab_size
    found = counted(whole, _prepared(whole), size)
    if json:
        print(jsonlib.dumps(asdict(found), indent=2))
        return
    from ft.commands.data_shown import shown_stats

    out().print(shown_stats(found, config.model.max_seq_length))


@app.command()
def sample(
    file: File = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many rows.")] = 5,
    recipe: RecipeFile = DEFAULT,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Print rows drawn by the recipe's seed, one JSON object a line."""
    from engine.data.prepare import selections

    config = _config(file, recipe, None, overrides)
    drawn = selections(config)[0].limited(count, config.seed)
    for _, chunk in drawn.chunks():
        for where, columns in chunk:
            body = {"where": where, "row": columns} if json else columns
            print(jsonlib.dumps(body, ensure_ascii=False, default=str))


@app.command()
def prepare(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any source.")],
    folder: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="A new folder.")],
    validation: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Share of the rows to hold out.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Which rows are held out.")] = 42,
    near: Annotated[bool, typer.Option("--near", help="Leave out near copies too.")] = False,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Convert to chat JSONL, leave out copies and broken rows, split, and write a report."""
    from engine.data.rewrite import rewrite

    changes = ["data.on_error=skip", f"data.validation={validation}", f"seed={seed}", *(overrides or [])]
    config = _config(file, DEFAULT, None, changes)
    with _told("reading") as progress:
        report = rewrite(config, folder, near=near, progress=progress)
    if json:
        print(jsonlib.dumps(asdict(report), indent=2, ensure_ascii=False))
        return
    from ft.commands.data_shown import shown_report

    for note in report.sources:
        say(note)
    out().print(shown_report(report, folder))


def _config(file: str | None, recipe: Path, model: str | None, overrides: list[str] | None) -> "TrainConfig":
    """The recipe's configuration, with FILE in the place of its training data where one is given."""
    changes = [*([f"model.base={jsonlib.dumps(model)}"] if model else []), *(overrides or [])]
    if file is None:
        return load_recipe(recipe, changes).config
    if recipe != DEFAULT:
        return load_recipe(
            recipe, [f"data.train={jsonlib.dumps(file)}", "data.validation=0", *changes]
        ).config
    body = {"model": {"base": "starter"}, "data": {"train": file, "validation": 0}}
    return load_text(jsonlib.dumps(body), Path("train.yml"), changes).config


def _fetched(config: "TrainConfig") -> Path:
    """The model's folder; the starter is made and a hub model fetched first."""
    from engine.models.resolve import resolve

    return resolve(config.model.base, config.model.revision).folder


def _prepared(config: "TrainConfig") -> "Dataset":
    from engine.data.prepare import prepare as prepared

    folder = _fetched(config)
    with _told("tokenising") as progress:
        return prepared(config, folder, progress)


class _told:  # noqa: N801 - used as a context manager, like a function
    """A progress bar on stderr, where that is a terminal."""

    def __init__(self, what: str) -> None:
        from rich.progress import Progress as Bar

        self._bar = Bar(console=err(), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()
