"""`ft data preview | check | stats | sample | prepare`: rows as the model will see them, and their problems."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import ConfigError, DataError
from ft.commands import augment as augmenting
from ft.commands.data_options import Json, Set, config_of, of_a_recipe
from ft.console import out, print_json, say
from ft.progress_bar import counting, fetching

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.sources.resolve import FetchedSources, ResolvedSources

app = typer.Typer(
    help="Preview, check, count and convert training data.", no_args_is_help=True, add_completion=False
)


@app.command()
@of_a_recipe()
def preview(
    config: "TrainConfig",
    row: Annotated[int, typer.Option("--row", min=1, help="Which row, from 1.")] = 1,
    tokens: Annotated[bool, typer.Option("--tokens", help="Mark token boundaries.")] = False,
    json: Json = False,
) -> None:
    """Show a row as the model will see it: which tokens are trained, which are not, which are special."""
    from rich.text import Text

    from engine.data.preview.previews import Previews
    from engine.data.preview.quick_check import view_of
    from engine.data.sources.resolve import as_text, training
    from ft.commands.data_shown import row_title, shown_row

    first = training(config.data)[0]
    source, view = as_text(first), view_of(config, first)
    fetched = _fetched_data(config)
    _fetched_model(config)
    previews = Previews(fetched=fetched)
    with counting("counting rows") as progress:
        there = previews.wait_for(source, row - 1, view, lambda share: progress(round(share * 1000), 1000))
    opened = previews.open(source, view, whole=False)
    if not there:
        if opened.broken:
            raise DataError(opened.broken, opened.hint)
        raise ConfigError(f"{source} has no row {row}", f"It has {opened.known:,} rows.")
    found = previews.show(source, [row - 1], view)
    if json:
        # A token is a list of its fields: rows have thousands of them.
        print_json(vars(found[0]) | {"pieces": [[*vars(piece).values()] for piece in found[0].pieces]})
        return
    say(row_title(found[0]))
    if not opened.format and opened.hint:
        say(opened.hint)
    if found[0].unused:
        say(f"The row has {found[0].unused}.")
    if found[0].unseen:
        say(f"The row has {found[0].unseen}, which the chat template does not show.")
    console = out()
    shown = shown_row(found[0], tokens, console.width if console.is_terminal else 0)
    console.print(shown, soft_wrap=isinstance(shown, Text))


@app.command()
@of_a_recipe()
def check(config: "TrainConfig", json: Json = False) -> None:
    """Check training data for problems. Exits with 1 if an error would stop a run.

    Findings about the first rows of a large file appear within seconds. Ctrl-c shows what was found so far.
    """
    from ft.commands.data_check import run

    fetched = _fetched_data(config)
    run(config, _fetched_model(config), fetched, json)


@app.command()
@of_a_recipe()
def stats(config: "TrainConfig", json: Json = False) -> None:
    """Count tokens: lengths of rows, what a max_seq_length would cut, how much is trained."""
    from engine.data.prepare import prepare as prepared
    from engine.data.stats import stats as counted
    from engine.data.token_spec import TokenSpec

    # Lengths before truncation, to say what each limit would cut.
    whole = config.model_copy(update={"model": config.model.model_copy(update={"max_seq_length": 1_048_576})})
    sources, folder = _fetched_data(config).unpacked(), _fetched_model(config)
    size = TokenSpec.of(config).encoder(folder).tokenizer.vocab_size
    with counting("tokenising") as progress:
        dataset = prepared(whole, folder, progress, sources=sources)
    found = counted(whole, sources, dataset, size)
    if json:
        print_json(asdict(found))
        return
    from ft.commands.data_shown import shown_stats

    _print_notes(sources)
    out().print(shown_stats(found, config.model.max_seq_length))


@app.command()
@of_a_recipe("model")
def sample(
    config: "TrainConfig",
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many rows.")] = 5,
    json: Json = False,
) -> None:
    """Print rows drawn by the recipe's seed, one JSON object a line."""
    from engine.data.prepare import selections

    sources = _fetched_data(config).unpacked()
    _print_notes(sources)
    drawn = selections(config, sources)[0].limited(count, config.seed)
    for _, chunk in drawn.chunks():
        for where, columns in chunk:
            body = {"where": where, "row": columns} if json else columns
            print_json(body, indent=None)


@app.command()
def prepare(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any source.")],
    folder: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="A new folder.")],
    validation: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Share of the rows for validation.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, and of what --augment draws.")] = 42,
    near: Annotated[bool, typer.Option("--near", help="Leave out near copies too.")] = False,
    augment: augmenting.Augment = None,
    model: augmenting.Model = None,
    amount: augmenting.Amount = None,
    language: augmenting.Language = None,
    through: augmenting.Through = None,
    temperature: augmenting.Temperature = None,
    max_tokens: augmenting.MaxTokens = None,
    tries: augmenting.Tries = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Convert to chat JSONL without copies and broken rows, split, and write a report.

    With --augment, a model writes more training rows, based on those in the file.
    """
    from engine.data.rewrite import rewrite

    changes = ["data.on_error=skip", f"data.validation={validation}", f"seed={seed}", *(overrides or [])]
    given = {
        "model": model, "amount": amount, "language": language, "through": through,
        "temperature": temperature, "max_tokens": max_tokens, "tries": tries,
    }  # fmt: skip
    config = config_of(file, None, model, changes)
    fetched = _fetched_data(config)
    if augment:
        _fetched_model(config)
    with counting("reading") as progress, augmenting.making(augment, given, config, folder, progress) as make:
        report = rewrite(config, folder, near=near, progress=progress, make=make, sources=fetched.unpacked())
    if json:
        print_json(asdict(report))
        return
    from ft.commands.data_shown import shown_report

    for note in report.sources:
        say(note)
    out().print(shown_report(report, folder))


def _fetched_model(config: "TrainConfig") -> Path:
    """Fetch the model; return its folder."""
    from engine.models.resolve import resolve

    with fetching() as progress:
        return resolve(config.model.base, config.model.revision, progress).folder


def _fetched_data(config: "TrainConfig") -> "FetchedSources":
    """Fetch all data that is not on this machine."""
    from engine.data.sources.resolve import fetch

    with fetching() as progress:
        return fetch(config.data, progress)


def _print_notes(sources: "ResolvedSources") -> None:
    """Print the notes about the training sources, as which files of a folder are not read."""
    for source in sources.training():
        for note in source.notes:
            say(note)
