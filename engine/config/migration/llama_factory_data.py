"""LLaMA-Factory's datasets: names in a `dataset_info.json`, as sources of ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.config.migration.axolotl_data import SPOKEN, share
from engine.config.migration.convert import text, whole
from engine.config.migration.draft import Draft
from engine.config.migration.rules import named
from engine.storage.regular_files import read_bytes

REGISTRY = "dataset_info.json"
LARGEST = 10_000_000
"""Bytes of a registry that is read."""
ALPACA: Mapping[str, tuple[str, str]] = {
    "prompt": ("instruction", "instruction"),
    "query": ("input", "input"),
    "response": ("output", "output"),
    "history": ("history", "history"),
}
"""Columns of alpaca rows by its names: ours, and what the file calls them where it is not said."""
COMMON = ("system", "tools", "chosen", "rejected")
ROLES: Mapping[str, str] = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "tool_call",
    "system_tag": "system",
}
KNOWN_ROLES = named("system user assistant tool human gpt model observation function function_call tool_call")
"""Names of roles that ft knows without being told."""


def train(draft: Draft) -> None:
    """The datasets to train on, each by the registry."""
    found = sources(draft, "dataset")
    if found:
        draft.take(
            "data.train",
            found[0] if len(found) == 1 else found,
            "dataset",
            "dataset_dir",
            "max_samples",
            why="by dataset_info.json, as seen from the recipe",
        )


def validation(draft: Draft) -> None:
    """A dataset of its own, a share, or nothing."""
    found = sources(draft, "eval_dataset")
    if found:
        more = f"the first of {len(found)}: ft validates on one source" if len(found) > 1 else ""
        draft.take("data.validation", found[0], "eval_dataset", why=more)
        return
    share(draft, "val_size", "data.validation")


def sources(draft: Draft, key: str) -> list[Any]:
    """The sources that a key lists; those that no registry explains are told as without equal."""
    names = draft.words(key)
    folder = draft.read("dataset_dir", text, "data")
    registry, place = _registry(draft, folder)
    found, unknown = [], []
    for name in names:
        about = registry.get(name)
        if isinstance(about, dict):
            source = _source(draft, name, about, place)
            found += [source] if source is not None else []
        elif folder == "ONLINE":
            found.append(_limited(draft, {"path": name}))
        else:
            unknown.append(name)
    if unknown:
        where = f"{folder}/{REGISTRY}"
        why = f"{', '.join(unknown)[:200]}: names in {where}, which is not there or does not list them"
        if found:
            draft.note(f"{key}: {why}", "left out")
        else:
            draft.leave([key], why, "a file name to fill in" if key == "dataset" else "")
    return found


def _registry(draft: Draft, folder: str) -> tuple[Mapping[str, Any], Path]:
    """The registry in a folder or, failing that, beside the file itself; empty where neither can be read."""
    for name in (f"{folder}/{REGISTRY}", REGISTRY):
        path = draft.places.found(name)
        if path is None:
            continue
        try:
            body = json.loads(read_bytes(path, LARGEST))
        except (OSError, ValueError, RecursionError):
            draft.note(f"{path.name} cannot be read as JSON", "its datasets are left out")
            continue
        if isinstance(body, dict):
            return body, path.parent
    return {}, draft.places.source


def _source(draft: Draft, name: str, about: Mapping[str, Any], folder: Path) -> Any:
    path = _path(draft, about, folder)
    if path is None:
        draft.note(f"dataset {name[:60]}: ft reads files and datasets of the Hugging Face hub", "left out")
        return None
    found: dict[str, Any] = {"path": path}
    for theirs, ours in (("subset", "config"), ("split", "split")):
        if isinstance(about.get(theirs), str):
            found[ours] = about[theirs]
    if about.get("ranking") is True:
        found["format"] = "preference"
    named, tags = about.get("columns"), about.get("tags")
    named = named if isinstance(named, dict) else {}
    if "kto_tag" in named:
        found["format"] = "kto"
    columns = _columns(named, about.get("formatting", "alpaca") == "alpaca")
    if columns:
        found["columns"] = columns
    if isinstance(tags, dict) and (roles := _roles(tags)):
        found["roles"] = roles
    turns = [tags.get(tag) for tag in ("role_tag", "content_tag")] if isinstance(tags, dict) else []
    if not all(name is None or name in SPOKEN for name in turns):
        draft.note(
            f"dataset {name[:60]}: turns with other keys than {', '.join(SPOKEN)}",
            "data.template can write them",
        )
    if any(key in named for key in ("images", "videos", "audios")):
        draft.note(f"dataset {name[:60]}: ft trains text alone", "rows with pictures or sound are refused")
    return _limited(draft, found, about.get("num_samples"))


def _path(draft: Draft, about: Mapping[str, Any], folder: Path) -> str | None:
    hub, file = about.get("hf_hub_url"), about.get("file_name")
    if isinstance(hub, str) and hub:
        return hub
    if not isinstance(file, str) or not file:
        return None
    return draft.places.written(folder.absolute() / file, file)


def _columns(named: Mapping[str, Any], alpaca: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    if alpaca:
        for theirs, (ours, usual) in ALPACA.items():
            name = named.get(theirs)
            if isinstance(name, str) and name != usual:
                found[ours] = name
    else:
        messages = named.get("messages")
        if isinstance(messages, str) and messages not in ("conversations", "messages"):
            found["conversations"] = messages
    for ours in COMMON:
        name = named.get(ours)
        if isinstance(name, str) and name != ours:
            found[ours] = name
    return found


def _roles(tags: Mapping[str, Any]) -> dict[str, str]:
    names = {tags[tag]: role for tag, role in ROLES.items() if isinstance(tags.get(tag), str)}
    return {name: role for name, role in names.items() if name.lower() not in KNOWN_ROLES}


def _limited(draft: Draft, source: dict[str, Any], own: Any = None) -> Any:
    """The source with `max_samples`, which LLaMA-Factory counts for each dataset; its path alone without any."""
    most = draft.read("max_samples", whole, 0)
    limits = [one for one in (most, own) if isinstance(one, int) and not isinstance(one, bool) and one > 0]
    if limits:
        source = {**source, "max_samples": min(limits)}
    return source["path"] if len(source) == 1 else source
