"""`ft data prepare --augment`: its options, and the step in which a model makes more training rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from engine import paths
from engine.errors import ConfigError
from ft.console import say

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.augment.journal import Journal
    from engine.data.augment.options import Kind, Options
    from engine.data.prepare import Progress
    from engine.data.rewrite import Make
    from engine.data.types import Completion, Preference, Prompt, Row

Augment = Annotated[
    Literal["paraphrase", "back-translation", "new-rows", "pairs"] | None,
    typer.Option("--augment", help="Have a model make more training rows, never from validation rows."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Who makes them; as model.base.  [default: starter]"),
]
Amount = Annotated[
    float | None,
    typer.Option(
        "--amount", min=0.001, max=100.0, help="How many, as a share of the training rows.  [default: 1]"
    ),
]
Language = Annotated[
    str | None, typer.Option("--language", metavar="NAME", help="What the rows are in.  [default: English]")
]
Through = Annotated[
    str | None,
    typer.Option(
        "--through", metavar="NAME", help="Language to translate into and back from.  [default: German]"
    ),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", min=0.0, max=5.0, help="0 answers greedily.  [default: 0.8]")
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="Longest answer, and question to ask about.  [default: 256]"),
]
Tries = Annotated[
    int | None,
    typer.Option(
        "--tries", min=1, max=100, help="How often to ask for a row that is rejected.  [default: 2]"
    ),
]


@contextmanager
def making(
    kind: str | None, given: Mapping[str, Any], config: "TrainConfig", folder: Path, progress: "Progress"
) -> "Iterator[Make | None]":
    """Generator of rows by the options, for the length of the block; None where no kind is asked for.

    `given` are the options by their name, None where they are left out. Stopped with ctrl-c, it says how to continue.
    Raises ConfigError for options that go with another kind, ModelError where there is no such model.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    _check(kind, chosen)
    if kind is None:
        yield None
        return
    from engine.data.augment.make import augment
    from engine.data.token_spec import TokenSpec
    from engine.models.resolve import resolve
    from engine.service.client import Client

    model = resolve(config.model.base, config.model.revision)
    options = _options(cast("Kind", kind), chosen, config, model.folder, model.fingerprint)
    spec = TokenSpec.of(config).prompts()
    tokenizer = spec.tokenizer(model.folder)
    with Client(paths.cache() / "augment.log") as client:

        def ask(prompts: "Sequence[Prompt]") -> "list[Completion]":
            return client.answers(model.folder, spec, prompts, options.max_tokens, options.temperature)

        def make(journal: "Journal") -> "tuple[list[Row | Preference], dict[str, Any]]":
            rows, found = augment(folder, options, tokenizer, ask, journal, progress)
            return rows, found.to_json()

        try:
            yield make
        except KeyboardInterrupt:
            say(
                f"Stopped. What {options.model} has answered is kept; run the same command again to continue."
            )
            raise


def _check(kind: str | None, chosen: Mapping[str, Any]) -> None:
    """Raise ConfigError where an option would do nothing."""
    if kind is None and chosen:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise ConfigError(
            f"{names}: only with --augment.", "Add --augment paraphrase, back-translation, new-rows or pairs."
        )
    if "through" in chosen and kind != "back-translation":
        raise ConfigError("--through: only with --augment back-translation.", "Leave it out.")


def _options(
    kind: "Kind", chosen: Mapping[str, Any], config: "TrainConfig", model: Path, fingerprint: str
) -> "Options":
    from engine.data.augment.options import Options
    from engine.models.sizing import shape_of

    return Options(
        kind=kind,
        model=config.model.base,
        fingerprint=fingerprint,
        chat_template=config.model.chat_template,
        template_variables=config.model.template_variables,
        context=shape_of(model).context,
        seed=config.seed,
        **{name: value for name, value in chosen.items() if name != "model"},
    )
