"""LoRA by PEFT's names and values, which several tools pass on to it."""

import re
from typing import Any

from engine.config.migration.convert import number, real, switch, whole
from engine.config.migration.draft import Draft
from engine.config.migration.steps import on

ADAPTER = ("adapter.rank", "adapter.alpha", "adapter.dropout")
TARGETS = ("adapter.target_modules", "adapter.modules_to_save")
KEPT = ("embed_tokens", "lm_head")
INITS = ("gaussian", "orthogonal", "olora", "pissa", "loftq")
EVERY = ("all", "all-linear", "all_linear")
"""Words for every linear layer."""


def strength(
    draft: Draft, rank: str, alpha: str, dropout: str, usual: tuple[int, float | None, float]
) -> None:
    """Rank, alpha and dropout; `usual` are the tool's defaults, an alpha of None being twice the rank."""
    size = draft.read(rank, whole, usual[0])
    scale, by = draft.read(alpha, real, 0.0), usual[1]
    draft.take("adapter.rank", size, rank)
    if scale:
        draft.take("adapter.alpha", scale, alpha)
    else:
        doubled = "twice the rank" if by is None else ""
        draft.imply("adapter.alpha", 2.0 * size if by is None else float(by), doubled)
    draft.take("adapter.dropout", float(draft.read(dropout, number, usual[2])), dropout)


def targets(draft: Draft, key: str, whole_key: str, usual: list[str] | str) -> None:
    """Adapted layers by the last part of their names, and those that are trained whole beside them."""
    given = draft.given.get(key)
    if isinstance(given, str) and given in EVERY:
        draft.take("adapter.target_modules", "all-linear", key)
        names: list[str] = []
    elif isinstance(given, str) and re.search(r"[\\()|*^$\[]", given):
        draft.leave(
            [key], "a pattern of names, and ft takes names alone", "adapter.target_modules: all-linear"
        )
        names = []
    else:
        names = draft.words(key)
        _named(draft, key, names, usual)
    _kept(draft, whole_key, [name for name in names if name in KEPT], key)


def _named(draft: Draft, key: str, names: list[str], usual: list[str] | str) -> None:
    if any(name in EVERY for name in names):
        draft.take("adapter.target_modules", "all-linear", key)
        return
    layers = list(dict.fromkeys(name.rpartition(".")[2] for name in names if name not in KEPT))
    if layers:
        shorter = any("." in name for name in names)
        why = "ft names layers by the last part of their paths" if shorter else ""
        draft.take("adapter.target_modules", layers, key, why=why)
    elif key not in draft.told:
        why = "PEFT's choice for most architectures" if isinstance(usual, list) else ""
        draft.imply("adapter.target_modules", usual, why)


def _kept(draft: Draft, key: str, beside: list[str], targets_key: str) -> None:
    """Embedding and output layer, trained whole: by their own key, or among the targets."""
    names = [name.rpartition(".")[2] for name in draft.words(key)]
    ours = [name for name in KEPT if name in names or name in beside]
    other = [name for name in names if name not in KEPT]
    if ours and not other:
        sources = [key] if draft.has(key) else [targets_key]
        draft.take("adapter.modules_to_save", ours, *sources)
    elif other:
        draft.leave([key], f"ft trains {' and '.join(KEPT)} whole, and no other layer", "they stay frozen")


def kind(draft: Draft, dora: str, rslora: str, init: str) -> None:
    """DoRA, rank stabilisation, and the start of the adapter."""
    if on(draft, dora):
        draft.take("adapter.type", "dora", dora)
    if on(draft, rslora):
        draft.take("adapter.rslora", draft.read(rslora, switch, False), rslora)
    start: Any = draft.given.get(init)
    if start is True or start == "true":
        draft.leave([init], "the default start", "adapter.init: default")
    elif start in INITS:
        draft.take("adapter.init", start, init)
    elif isinstance(start, str) and start.startswith("pissa"):
        draft.take("adapter.init", "pissa", init, why="by an exact decomposition, not an approximate one")
    elif start is not None:
        draft.leave([init], f"ft has default, {', '.join(INITS)}", "adapter.init: default")
