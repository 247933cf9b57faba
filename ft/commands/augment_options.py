"""The options of `ft data prepare --augment`."""

from typing import Annotated, Literal

import typer

Augment = Annotated[
    Literal["paraphrase", "back-translation", "new-rows"] | None,
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
