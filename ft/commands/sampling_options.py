"""Options of the commands that answer: who answers, and how tokens are chosen."""

from pathlib import Path
from typing import Annotated

import typer

MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, help="0 answers greedily.")]
TopP = Annotated[
    float, typer.Option("--top-p", min=0.0, max=1.0, help="Draw from the likeliest tokens with this share.")
]
TopK = Annotated[int, typer.Option("--top-k", min=0, help="Draw from this many likeliest tokens; 0: all.")]
MinP = Annotated[
    float,
    typer.Option("--min-p", min=0.0, max=1.0, help="Draw no token less likely than this × the likeliest."),
]
RepetitionPenalty = Annotated[
    float,
    typer.Option("--repetition-penalty", min=0.01, help="Above 1, tokens seen before are less likely."),
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End the answer before this text; repeatable."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Fixes the answer where temperature is above 0.")]
Base = Annotated[bool, typer.Option("--base", help="Answer with the model as it was before training.")]
Compare = Annotated[bool, typer.Option("--compare", help="Answer with the trained model and with its base.")]
System = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="The system message.")]
Tools = Annotated[
    Path | None,
    typer.Option("--tools", metavar="FILE", help="JSON: a list of functions that the model may call."),
]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Ask this OpenAI-compatible server instead.")
]
ServedModel = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Model of --url; its only one if left out.")
]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="NAME", help="Token for --url, by its name in `ft secrets list`."),
]
