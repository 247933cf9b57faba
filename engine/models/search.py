"""Search for models on the hub, and what each fits on this machine, from its config alone."""

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, get_args

from engine import offline, paths, secrets
from engine.errors import FtError, HubError
from engine.models import hub
from engine.models.hub_facts import CONFIG
from engine.models.names import KNOWN
from engine.models.shape import ModelShape
from engine.models.sizing import shape_of
from engine.models.starter import silent

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

Sort = Literal["downloads", "likes", "newest", "size"]
SORTS: tuple[str, ...] = get_args(Sort)
OF_HUB = {"downloads": "downloads", "likes": "likes", "newest": "last_modified", "size": "downloads"}
"""The hub's name of an order. It has none by size: the models that it finds first are ordered here."""
ASKED = ("sha", "safetensors", "gated", "downloads", "likes", "lastModified", "config", "tags")
SCANNED = 10
"""For each model wanted, so many are looked at for one that suits: the hub does not know every filter."""
WITHOUT_NETWORK = "`ft models names` lists common models without network."
TOGETHER = 8
"""Configs that are fetched at a time."""
PACKED_TAGS = {"gptq", "awq", "gguf", "exl2", "exl3", "fp8", "mxfp4", "bitsandbytes", "4-bit", "8-bit"}
"""Tags of weights that are quantised."""


@dataclass(frozen=True)
class Query:
    """What is looked for. None leaves a filter out."""

    text: str
    architecture: str | None = None
    """`model_type` of its config.json, as `qwen3`."""
    licence: str | None = None
    """Its name on the hub, as `apache-2.0`."""
    gated: bool | None = None
    quantised: bool | None = None
    instruct: bool | None = None
    """Trained to answer (it has a chat template); False for base models."""
    smallest: float | None = None
    largest: float | None = None
    """Parameters, in billions."""
    sort: Sort = "downloads"
    limit: int = 20


@dataclass(frozen=True)
class Found:
    """A model of the hub, as its search describes it."""

    name: str
    revision: str | None
    architecture: str | None
    parameters: int | None
    """As its weights' headers say, which may count a tied matrix twice; None where the hub does not tell."""
    licence: str | None
    gated: bool
    quantised: bool
    instruct: bool
    downloads: int
    """In the last 30 days."""
    likes: int
    changed: str
    """Day of the last change, as 2026-11-30; empty for a model that the hub was not asked about."""


def search(query: Query) -> list[Found]:
    """Models that suit, in the order asked for. One request, unless a filter that the hub lacks asks for more pages.

    Raises HubError where the hub can't be reached or says no.
    """
    from huggingface_hub import constants

    if offline.from_hub() or constants.HF_HUB_OFFLINE:
        way = "Leave it out." if offline.everywhere() else "Unset it."
        message = f"The hub is not searched: {offline.variable()} forbids it."
        raise HubError(message, f"{way} {WITHOUT_NETWORK}", unreachable=True)
    try:
        return _searched(query)
    except HubError as error:
        if not error.unreachable:
            raise
        hint = f"Check the network and search again. {WITHOUT_NETWORK}"
        raise HubError(error.message, hint, unreachable=True) from error


def _searched(query: Query) -> list[Found]:
    from huggingface_hub import HfApi

    filters = [f"license:{query.licence}"] if query.licence else []
    filters += [query.architecture] if query.architecture else []
    local = query.quantised is not None or query.instruct is not None
    with hub.explained(f"a search for {query.text}" if query.text else "a search", None):
        answers = HfApi().list_models(
            search=query.text or None,
            filter=filters or None,
            gated=query.gated,
            pipeline_tag="text-generation",
            num_parameters=_bounds(query),
            sort=OF_HUB[query.sort],
            limit=query.limit * (SCANNED if local else 1),
            expand=list(ASKED),
            token=secrets.get(secrets.HF_TOKEN),
        )
        suiting = (found for found in map(_found, answers) if _suits(found, query))
        models = list(islice(suiting, query.limit))
    if query.sort == "size":
        models.sort(key=lambda model: (model.parameters is None, model.parameters))
    return models


def named(text: str) -> list[Found]:
    """Common models whose short name or hub id has this text, as they are known without network."""
    words = text.strip().lower()
    return [
        Found(
            name=one.hub_id,
            revision=None,
            architecture=str(one.config["model_type"]),
            parameters=one.shape.parameters,
            licence=None,
            gated=one.gated,
            quantised=False,
            instruct=True,
            downloads=0,
            likes=0,
            changed="",
        )
        for one in KNOWN.values()
        if words in one.name or words in one.hub_id.lower()
    ]


def shapes(
    models: Sequence[Found], measure: Callable[[Path], ModelShape] = shape_of
) -> Generator[tuple[Found, ModelShape | None], None, None]:
    """The shape of each, in the order in which their configs arrive; None where it cannot be told.

    `measure` is given the folder of a config.json and raises ModelError. Closing the iterator leaves out those that
    have not been asked for.
    """
    arrived: SimpleQueue[tuple[Found, ModelShape | Exception | None]] = SimpleQueue()
    waiting, left = iter(models), threading.Event()
    taking = threading.Lock()

    def fetch() -> None:
        while not left.is_set():
            with taking:
                model = next(waiting, None)
            if model is None:
                return
            try:
                arrived.put((model, _shape(model, measure)))
            except Exception as error:  # raised where the shapes are wanted
                arrived.put((model, error))

    for _ in range(min(TOGETHER, len(models))):
        # Daemons, not a pool: Python would wait at its end for each answer that a silent hub owes.
        threading.Thread(target=fetch, name="configs", daemon=True).start()
    try:
        for _ in models:
            model, shape = arrived.get()
            if isinstance(shape, Exception):
                raise shape
            yield model, shape
    finally:
        left.set()


def _shape(model: Found, measure: Callable[[Path], ModelShape]) -> ModelShape | None:
    from huggingface_hub import hf_hub_download

    if known := next((one for one in KNOWN.values() if one.hub_id == model.name), None):
        return known.shape
    try:
        with hub.explained(model.name, model.revision):
            path = hf_hub_download(
                model.name,
                CONFIG,
                revision=model.revision,
                token=secrets.get(secrets.HF_TOKEN),
                cache_dir=paths.cache() / "hub-facts",
                tqdm_class=hub.client_bar(model.name, silent),
            )
        return measure(Path(path).parent)
    except FtError:  # gated, no config, or an architecture that nobody here knows
        return None


def _found(about: "ModelInfo") -> Found:
    config: dict[str, Any] = about.config or {}
    tags = set(about.tags or ())
    licences = [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
    weights = about.safetensors
    template = (config.get("tokenizer_config") or {}).get("chat_template")
    return Found(
        name=about.id,
        revision=about.sha,
        architecture=config.get("model_type"),
        parameters=weights.total if weights else None,
        licence=licences[0] if licences else None,
        gated=bool(about.gated),
        quantised="quantization_config" in config or bool(tags & PACKED_TAGS),
        instruct=bool(template) or "conversational" in tags,
        downloads=about.downloads or 0,
        likes=about.likes or 0,
        changed=f"{about.last_modified:%Y-%m-%d}" if about.last_modified else "",
    )


def _suits(found: Found, query: Query) -> bool:
    return (
        query.quantised in (None, found.quantised)
        and query.instruct in (None, found.instruct)
        and query.architecture in (None, found.architecture)
    )


def _bounds(query: Query) -> str | None:
    """The hub's own notation, as `min:1B,max:8B`."""
    bounds = {"min": query.smallest, "max": query.largest}
    return ",".join(f"{name}:{value:g}B" for name, value in bounds.items() if value is not None) or None
