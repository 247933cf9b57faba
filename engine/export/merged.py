"""Export as full weights: a folder in transformers' layout, which every program for models takes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError
from engine.export.base import Exporter, Heartbeat
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.merging.merged import MergedTensors

MERGED = Exporter("merged", write="engine.export.merged:write", prove="engine.parity.torch_model:open_folder")
REPORT = "merge.json"
"""File of the folder that says how its weights were made."""
OPTIONS = ("dtype", "shard_bytes")


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write the weights of base and adapter as one, with tokenizer, templates and settings as they were trained.

    The options are `dtype` (`source`, bf16, fp16 or fp32) and `shard_bytes`. The facts are those of `merge.json`: the
    base and how it was read, what was written, and the share of the update that rounding lost.
    """
    from engine.merging.base import base_for
    from engine.merging.merged import merged_tensors
    from engine.merging.shards import SHARD_BYTES, write_shards

    if unknown := options.keys() - set(OPTIONS):
        raise ConfigError(
            f"Export to merged has no option {min(unknown)}.", f"Its options: {', '.join(OPTIONS)}."
        )
    dtype, shard_bytes = dtype_of(options), _whole_number(options.get("shard_bytes", SHARD_BYTES))
    base = base_for(model)
    heartbeat()
    tensors = merged_tensors(model, base.folder)
    written = write_shards(tensors, out, dtype, heartbeat, shard_bytes)
    write_settings(model, base.folder, tensors, out)
    facts = {
        "base": str(base.folder),
        "note": base.note,
        "untied": tensors.untied,
        **written.facts(),
    }
    (out / REPORT).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def dtype_of(options: Mapping[str, Any]) -> str:
    """The number format that the options ask for. Raises ConfigError for one that there is not."""
    from engine.merging.encoding import ENCODINGS

    dtype = str(options.get("dtype", "source"))
    if dtype != "source" and dtype not in ENCODINGS:
        raise ConfigError(f"There is no dtype {dtype}.", f"Use source, {', '.join(ENCODINGS)}.")
    return dtype


def _whole_number(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"shard_bytes: {value} is not a number of bytes.", "As shard_bytes=5000000000.")
    return number


def write_settings(model: TrainedModel, base: Path, tensors: "MergedTensors", out: Path) -> None:
    """Write config.json as the weights in `out` need it, and the tokenizer, templates and end tokens of training."""
    from engine.backends.files import copy_tokenizer_files, write_config, write_tokenizer
    from engine.backends.result_files import ResultFiles
    from engine.models.local import TOKENIZER_FILES, dtype_of, read_config
    from engine.models.published import PublishedBase

    config = read_config(base)
    for name in ("quantization_config", "quantization"):
        config.pop(name, None)
    for part in (config, config.get("text_config")):
        if not isinstance(part, dict):
            continue
        if tensors.untied and (part is config or "tie_word_embeddings" in part):
            part["tie_word_embeddings"] = False
        if tensors.vocabulary is not None and "vocab_size" in part:
            part["vocab_size"] = tensors.vocabulary
    write_config(out, config, dtype_of(out))
    if model.adapter is not None:
        copy_tokenizer_files(model.adapter, out, TOKENIZER_FILES)
    if not (out / "tokenizer.json").is_file():
        write_tokenizer(base, model.spec.add_tokens, out)
    ResultFiles(base, PublishedBase(base.name), model.spec.tokenizer(base)).complete(out)
