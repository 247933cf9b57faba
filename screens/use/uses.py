"""Table of the jobs that follow training, with the options that the app asks for. A command has more of them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from engine import paths
from engine.errors import ConfigError
from engine.export.base import QUANTIZATION
from engine.export.registry import exporter_named, exporter_names
from engine.runs.directory.registry import model_name
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

Values = Mapping[str, str]
"""Text of each option by its name; empty where the default is meant."""
NO, YES = "no", "yes"
NOTHING = "nothing"


@dataclass(frozen=True)
class Option:
    """One line of a form."""

    name: str
    help: str
    empty: str = ""
    """Meaning of a line that is left empty."""
    choices: tuple[str, ...] = ()
    """Values to choose from, the default first; none where text is typed."""


@dataclass(frozen=True)
class Use:
    """One job that takes a trained model."""

    name: str
    """Name of the command that does the same."""
    summary: str
    options: tuple[Option, ...]
    create: Callable[[str, Values], Run]
    """Makes the run of the job from a model's reference, as `TrainedModel.find` takes it. Raises FtError where the
    options or the model do not allow it. Blocks: called in a thread."""


def _evaluate(reference: str, values: Values) -> Run:
    from engine.config.recipe_paths import data_source
    from engine.jobs.evaluation_options import Evaluation

    metrics = _names(values["metrics"])
    evaluation = Evaluation(
        reference,
        data=data_source(values["data"], Path.cwd()) if values["data"] else None,
        metrics=metrics or None,
        max_questions=_whole(values, "max_questions"),
        against=None if values["against"] == NOTHING else values["against"],
        forgetting=values["forgetting"] == YES,
    )
    evaluation.check(TrainedModel.find(reference))
    return evaluation.create()


def _export(reference: str, values: Values) -> Run:
    from engine.jobs.export import Export

    name = values["format"]
    exporter = exporter_named(name)
    wanted = {QUANTIZATION: values["quantize"]} if values["quantize"] else {}
    if wanted and not exporter.quantizations:
        raise ConfigError(f"Export to {name} does not quantise.", "Leave quantize empty.")
    out = _folder(values, "-".join(filter(None, (name, values["quantize"].lower(), model_name(reference)))))
    TrainedModel.find(reference)
    return Export(reference, name, out, exporter.check(wanted), prove=values["prove"] == YES).create()


def _merge(reference: str, values: Values) -> Run:
    from engine.jobs.export import Export
    from engine.merging.several import Combination, numbers

    others = [_reference(name) for name in _names(values["others"])]
    options: dict[str, object] = {
        "dtype": values["dtype"],
        "models": others,
        "method": values["method"] or "cat",
    }
    options["weights"] = numbers(values["weights"]) if values["weights"] else None
    Combination.of([TrainedModel.find(each) for each in (reference, *others)], options)
    more = f"-and-{len(others)}-more" if others else ""
    out = _folder(values, f"merged-{model_name(reference)}{more}")
    return Export(reference, "merged", out, options, prove=values["prove"] == YES).create()


def _serve(reference: str, values: Values) -> Run:
    from engine.jobs.serve import Serving

    port = _whole(values, "port") or Serving.port
    serving = Serving(reference, name=values["name"] or None, port=port)
    serving.check()
    return serving.create()


def _push(reference: str, values: Values) -> Run:
    from engine.jobs.push import Push, token
    from engine.publishing.hub_errors import check_repo
    from engine.publishing.source import PushSource

    if not values["to"]:
        raise ConfigError("to: the repository is missing.", "Name it as OWNER/NAME, for example anna/orders.")
    check_repo(values["to"])
    _ = PushSource.find(reference).files
    dry_run = values["dry_run"] == YES
    if not dry_run:
        token()
    message = values["message"] or Push.message
    return Push(reference, values["to"], values["public"] == YES, message, dry_run=dry_run).create()


def _names(typed: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in typed.split(",") if name.strip())


def _reference(name: str) -> str:
    """What `TrainedModel.find` takes, good in any folder: a path is made absolute."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def _folder(values: Values, name: str) -> Path:
    """The folder to write: what is typed, from the current folder, else `name` or `name-2` … among ft's exports.

    Raises ConfigError where what is typed is there already.
    """
    if values["folder"]:
        typed = Path(values["folder"]).expanduser().absolute()
        if os.path.lexists(typed):
            raise ConfigError(f"folder: {typed} exists already.", "Name a new one.")
        return typed
    proposed = paths.home() / "exports" / name
    further = (proposed.with_name(f"{name}-{number}") for number in count(2))
    return next(path for path in chain([proposed], further) if not os.path.lexists(path))


def _whole(values: Values, name: str) -> int | None:
    """A positive whole number; None where nothing is typed. Raises ConfigError for anything else."""
    typed = values[name].strip()
    if not typed:
        return None
    if not (typed.isascii() and typed.isdecimal()) or int(typed) < 1:
        raise ConfigError(
            f"{name}: {typed} is not a whole number above 0.", "Leave it empty for the default."
        )
    return int(typed)


PROVE = Option(
    "prove", "Compare its answers with the trained model's, and keep it only if alike.", choices=(YES, NO)
)
FOLDER = Option("folder", "A new folder to write.", "a folder of its own among ft's exports")
USES = (
    Use(
        "evaluate",
        "score it on rows, alone or beside the untrained model",
        (
            Option(
                "data", "A file, folder, address or hub data set to score on.", "the run's validation rows"
            ),
            Option("metrics", "Names of metrics, with commas between them.", "those of the recipe"),
            Option("against", "Another model that answers the same rows.", choices=(NOTHING, "base")),
            Option("forgetting", "Score general rows that were not the task, too.", choices=(NO, YES)),
            Option("max_questions", "Most prompts that are answered.", "as the recipe says"),
        ),
        _evaluate,
    ),
    Use(
        "export",
        "write it for llama.cpp, Ollama, MLX or transformers",
        (
            Option(
                "format",
                "gguf: llama.cpp, LM Studio. ollama. mlx: Apple silicon. merged: transformers, vLLM. adapter: PEFT. "
                "A name that ends in -adapter writes the adapter alone.",
                choices=("gguf", *sorted({*exporter_names()} - {"gguf"})),
            ),
            Option(
                "quantize",
                "Bits of the weights: q8_0, q4_k_m and so on for gguf, 4bit or 8bit for mlx.",
                "none",
            ),
            FOLDER,
            PROVE,
        ),
        _export,
    ),
    Use(
        "merge",
        "write base and adapter, or several adapters, as one full model",
        (
            Option(
                "others",
                "Other runs or adapters' folders on the same base, with commas between them.",
                "none",
            ),
            Option(
                "weights", "Weight of each model's update, this one's first, as 0.7,0.3.", "equal, 1 in all"
            ),
            Option(
                "method", "How several become one: linear, svd, ties, dare_ties … cat alone is exact.", "cat"
            ),
            Option(
                "dtype",
                "Number format of the weights; bf16 may lose half of a small update, fp16 and fp32 hardly any.",
                choices=("source", "bf16", "fp16", "fp32"),
            ),
            FOLDER,
            PROVE,
        ),
        _merge,
    ),
    Use(
        "serve",
        "answer other programs over HTTP, as OpenAI's API does",
        (
            Option("port", "Port on this machine.", "8000"),
            Option("name", "Name of the model in requests.", "its run's"),
        ),
        _serve,
    ),
    Use(
        "push",
        "upload it with its card to the hub",
        (
            Option("to", "The repository as OWNER/NAME; made if missing.", "OWNER/NAME"),
            Option(
                "public", "Everybody may see it; otherwise only you and your organisation.", choices=(NO, YES)
            ),
            Option("message", "Message of the commit.", "Push with ft"),
            Option(
                "dry_run", "List the files and their sizes; nothing leaves this machine.", choices=(NO, YES)
            ),
        ),
        _push,
    ),
)
"""In the order in which they are offered."""
