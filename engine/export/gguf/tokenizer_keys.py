"""Keys of a model's tokenizer in GGUF: vocabulary, tokens with a meaning, and the chat template trained with."""

import json
import tempfile
from pathlib import Path
from typing import Any

from engine.data.tokenization.tokenizer import Tokenizer, write_extended
from engine.data.types import Message
from engine.errors import ModelError
from engine.export.gguf.vocabulary import Vocabulary, vocabulary
from engine.models.local import read_object
from engine.runs.directory.trained_model import TrainedModel


def tokenizer_keys(model: TrainedModel, folder: Path, rows: int) -> dict[str, Any]:
    """All keys that begin with `tokenizer.`; the vocabulary is filled up to the rows of the embedding.

    Raises ModelError where llama.cpp has no such tokenizer.
    """
    tokenizer = model.spec.tokenizer(folder)
    with tempfile.TemporaryDirectory() as name:
        write_extended(folder, model.spec.add_tokens, Path(name))
        about = json.loads((Path(name) / "tokenizer.json").read_bytes())
    found = vocabulary(
        about, rows, opens_with_token=bool(set(question(tokenizer)[:1]) & tokenizer.added.keys())
    )
    keys: dict[str, Any] = {
        "model": found.model,
        "pre": found.pre,
        "tokens": found.tokens,
        "token_type": found.kinds,
        **({"merges": found.merges} if found.merges else {"scores": found.scores}),
        **found.more,
        **_special(tokenizer, folder, found),
    }
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    templates = {name: text for name, text in tokenizer.delivered.items() if text}
    if "default" in templates:
        metadata["tokenizer.chat_template"] = templates.pop("default")
    if templates:
        metadata["tokenizer.chat_templates"] = list(templates)
    return metadata | {f"tokenizer.chat_template.{name}": text for name, text in templates.items()}


def _special(tokenizer: Tokenizer, folder: Path, found: Vocabulary) -> dict[str, Any]:
    """Ids of the tokens with a meaning, and those that stand around every text."""
    ids = {text: id_ for id_, text in enumerate(found.tokens)}
    path = folder / "tokenizer_config.json"
    config = read_object(path) if path.is_file() else {}
    keys: dict[str, Any] = {}
    for ours, theirs in {"bos": "bos", "unk": "unknown", "pad": "padding"}.items():
        value = config.get(f"{ours}_token")
        text = value.get("content") if isinstance(value, dict) else value
        if text in ids:
            keys[f"{theirs}_token_id"] = ids[text]
    keys["eos_token_id"] = tokenizer.eos_id
    turn_ends = sorted(tokenizer.stop_ids - {tokenizer.eos_id})
    if turn_ends:
        keys["eot_token_id"] = turn_ends[0]
    if tokenizer.prefix_ids:
        keys["bos_token_id"] = tokenizer.prefix_ids[0]
    return keys | {
        "add_bos_token": _puts_start(tokenizer),
        "add_eos_token": bool(tokenizer.suffix_ids),
    }


def _puts_start(tokenizer: Tokenizer) -> bool:
    """True if llama.cpp is to put the start token in front of every text.

    It does so in front of a rendered conversation too, unless that begins with it. A model is trained on conversations
    as its template writes them: where the template leaves the start token out, it stays out.
    """
    start, prompt = tokenizer.prefix_ids, question(tokenizer)
    return bool(start) and (not prompt or prompt[: len(start)] == start)


def question(tokenizer: Tokenizer) -> list[int]:
    """Ids of a rendered question; none where the model has no template, or one that wants more than a question."""
    try:
        return tokenizer.prompt_ids([Message(role="user", content="Hello")])
    except ModelError:
        return []
