"""axolotl's datasets as sources of ours, and what is trained of them."""

from collections.abc import Mapping
from typing import Any

from engine.config.migration.convert import Refused, number, switch, text
from engine.config.migration.draft import Draft
from engine.config.migration.preference import AXOLOTL, IPO_WHY

TRAIN = ("data.train", "data.columns", "model.chat_template")
TEMPLATES: Mapping[str, str] = {
    "tokenizer_default": "auto",
    "chatml": "chatml",
    "llama3": "llama3",
    "alpaca": "alpaca",
    "gemma": "gemma",
    "mistral_v1": "mistral",
    "mistral_v2v3": "mistral",
    "phi_3": "phi",
}
"""axolotl's templates that ft has, by ft's names."""
FORMATS: Mapping[str, str] = {
    "chat_template": "chat",
    "sharegpt": "sharegpt",
    "alpaca": "alpaca",
    "completion": "completion",
    "pretrain": "completion",
}
"""Our formats of axolotl's types; ft detects the others."""
DIRECT: Mapping[str, str] = {"name": "config", "split": "split", "revision": "revision"}
"""Keys of a dataset that say the same as one of a source's, by ours."""
SILENT = frozenset(("path", "type", "ds_type", "data_files", "trust_remote_code", "field", "text_column"))
"""Keys that are read with others, or that ft finds out by itself."""
WORDING = ("format", "no_input_format", "system_prompt", "system_format")
"""Keys of a type of one's own that say how a row is written out."""
SPOKEN = ("role", "content", "from", "value", "tool_calls", "reasoning_content")
"""Keys of a turn that ft reads under their own names."""
COLUMNS: Mapping[str, str] = {
    "field_tools": "tools",
    "field_instruction": "instruction",
    "field_input": "input",
    "field_output": "output",
    "field_system": "system",
    "field_chosen": "chosen",
    "field_rejected": "rejected",
    "field_prompt": "prompt",
}
"""Keys that name a column, and our names of the columns."""


def train(draft: Draft) -> None:
    """Sources of `datasets`, or of `pretraining_dataset`, and Alpaca's wording where all of them are of its type."""
    key = draft.first("datasets", "pretraining_dataset")
    given = draft.given.get(key)
    if given is None:
        return
    found = [one for one in (_source(draft, each, key) for each in _listed(given)) if one is not None]
    if not found:
        draft.leave([key], "no dataset in it has a path that ft could read", "")
        return
    kinds = {_kind(each) for each in _listed(given)}
    draft.take("data.train", found[0] if len(found) == 1 else found, key, why="as a source of ft")
    if kinds == {"alpaca"} and not draft.has("chat_template", "chat_template_jinja"):
        draft.imply(
            "model.chat_template", "alpaca", "rows of its type alpaca get Alpaca's headings, not a chat's"
        )
    elif "alpaca" in kinds:
        draft.note(
            "axolotl writes rows of its type alpaca with Alpaca's headings", "all rows by one chat template"
        )


def validation(draft: Draft) -> None:
    """A share of the rows, or a dataset of its own; nothing where neither is said."""
    given = draft.given.get("test_datasets")
    found = [_source(draft, each, "test_datasets") for each in _listed(given)] if given is not None else []
    sources = [one for one in found if one is not None]
    if sources:
        more = f"the first of {len(sources)}: ft validates on one source" if len(sources) > 1 else ""
        draft.take("data.validation", sources[0], "test_datasets", why=more)
        return
    share(draft, "val_set_size", "data.validation")


def share(draft: Draft, key: str, ours: str) -> None:
    """A share of the rows to validate on; a number of rows has no equal."""
    size = draft.read(key, number, 0.0)
    if 0 <= size < 1:
        draft.take(ours, float(size), key)
    else:
        draft.leave([key], "a number of rows there, a share of them in ft", "data.validation: 0.1")


def trained(draft: Draft) -> None:
    """All tokens, or those of the answers."""
    if draft.read("train_on_inputs", switch, False):
        draft.take("data.train_on", "all", "train_on_inputs")
    elif draft.has("train_on_inputs"):
        draft.take("data.train_on", "assistant", "train_on_inputs")


def method(draft: Draft) -> None:
    """Training by preferences."""
    name = draft.read("rl", text, "").lower()
    if name == "ipo":
        draft.take("training.method", "dpo", "rl")
        AXOLOTL.read(draft, "rl", "dpo")
        draft.imply("dpo.loss", "ipo", "rl: ipo is a loss of dpo's")
        draft.imply("dpo.length_normalised", True, IPO_WHY)
    elif name:
        AXOLOTL.read(draft, "rl", name)


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _kind(dataset: Any) -> str:
    kind = dataset.get("type") if isinstance(dataset, dict) else ""
    return kind if isinstance(kind, str) else ""


def _source(draft: Draft, dataset: Any, key: str) -> Any:
    """One dataset as a source: its path alone, or a mapping."""
    if isinstance(dataset, str):
        return draft.places.rows(dataset)
    if not isinstance(dataset, dict) or not isinstance(dataset.get("path"), str):
        return None
    path, files = dataset["path"], dataset.get("data_files")
    if isinstance(files, list) and len(files) == 1:
        files = files[0]
    if isinstance(files, str) and path in ("json", "csv", "parquet", "text", "arrow"):
        path, files = files, None
    about: dict[str, Any] = {"path": draft.places.rows(path)}
    if files:
        draft.note(
            f"{key}: data_files of {path}: ft reads all files of a split", "name them as hf://datasets/… does"
        )
    about |= _settings(draft, dataset, f"{key}: {path}")
    return about["path"] if len(about) == 1 else about


def _settings(draft: Draft, dataset: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind = dataset.get("type")
    if isinstance(kind, str) and kind in FORMATS:
        found["format"] = FORMATS[kind]
    elif isinstance(kind, dict):
        dataset = {**kind, **dataset}
        if wording := [key for key in WORDING if kind.get(key)]:
            draft.note(f"{where}: {', '.join(wording)} of its type", "the chat template writes the rows")
    elif kind is not None:
        draft.note(f"{where}: type {_short(kind)} has no equal", "ft detects the format of the rows")
    for theirs, ours in DIRECT.items():
        value = dataset.get(theirs)
        if isinstance(value, str) and value:
            found[ours] = value
    if columns := _columns(dataset, found):
        found["columns"] = columns
    if roles := _roles(dataset.get("roles")):
        found["roles"] = roles
    named = dataset.get("message_property_mappings")
    if isinstance(named, dict) and not all(name in SPOKEN for name in named.values()):
        draft.note(f"{where}: turns with other keys than {', '.join(SPOKEN)}", "data.template can write them")
    known = {*SILENT, *DIRECT, *COLUMNS, *WORDING, "field_messages", "roles", "message_property_mappings"}
    other = [key for key, value in dataset.items() if key not in known and value is not None]
    if other:
        draft.note(f"{where}: {', '.join(map(str, other))[:200]}: no equal of these keys", "left out")
    return found


def _columns(dataset: Mapping[str, Any], found: dict[str, Any]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for key, ours in COLUMNS.items():
        value = dataset.get(key)
        if isinstance(value, str) and value and value != ours:
            columns[ours] = value
    messages = dataset.get("field_messages")
    if messages == "conversations":
        found["format"] = "sharegpt"
    elif isinstance(messages, str) and messages != "messages":
        columns["messages"] = messages
    words = dataset.get("field") or dataset.get("text_column")
    if isinstance(words, str) and words != "text" and found.get("format") == "completion":
        columns["text"] = words
    return columns


def _roles(given: Any) -> dict[str, str]:
    """axolotl lists the file's names under each role; ft maps each name to the role."""
    found: dict[str, str] = {}
    for role, names in given.items() if isinstance(given, dict) else ():
        for name in _listed(names):
            if isinstance(name, str) and role in ("system", "user", "assistant", "tool") and name != role:
                found[name] = role
    return found


def _short(value: Any) -> str:
    try:
        return text(value)[:60]
    except Refused:
        return "of its own"
