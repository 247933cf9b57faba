"""A model's folder on this disk: its config, weight files and tokenizer, and what is wrong with them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.weight_headers import Header, read_header
from engine.storage.regular_files import read_bytes, require

INDEX = "model.safetensors.index.json"
TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
"""Any one of these sets of files is a tokenizer."""
LARGEST = 64 << 20
"""Bytes of a config or an index at most; what is longer is cut, and so no JSON."""
VOCABULARIES = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
"""Files of older models that a tokenizer.json can be made from."""
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *(*VOCABULARIES, "merges.txt"),
)
"""A model's files that make its tokenizer, whichever of them it has."""
TOKEN_FILES = (*TOKENIZER_FILES, "config.json", "generation_config.json")
"""A model's files that, with its chat templates, decide what its tokens are and where an answer ends."""
DTYPES = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Number formats: in a safetensors header, and in config.json."""
TEMPLATE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
"""A model's chat template, and the folder of those that it has by name, as transformers writes them."""


def check(folder: Path) -> None:
    """Raise ModelError unless `folder` has a readable config, whole safetensors weights and a tokenizer."""
    _refuse_other_things(folder)
    require_regular_files(folder)
    read_config(folder)
    for path in weight_files(folder):
        read_header(path)
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        raise ModelError(
            f"{folder} has no tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt).",
            "Copy the tokenizer's files from the model's source into the folder.",
        )


def require_regular_files(folder: Path) -> None:
    """Raise ModelError where a model's or adapter's folder holds a pipe or a device: libraries would wait on it."""
    for path in sorted(folder.iterdir()):
        try:
            require(path)
        except (IsADirectoryError, FileNotFoundError):  # a link that leads nowhere is a missing file
            continue
        except OSError as error:
            message = f"{path} cannot be used: {error.strerror or error}."
            raise ModelError(message, "A model's files are regular files, or links to them.") from error


def templates(folder: Path) -> list[Path]:
    """The files of a model's chat templates; none where it has them in its tokenizer's settings, or has none."""
    return [
        *([folder / TEMPLATE] * (folder / TEMPLATE).is_file()),
        *named_templates(folder),
    ]


def named_templates(folder: Path) -> list[Path]:
    """The files of the chat templates that a model has by name, as `tool_use`."""
    return sorted((folder / MORE_TEMPLATES).glob("*.jinja"))


def token_files(folder: Path) -> list[Path]:
    """The files of a model that decide its tokens, whether they exist or not, and the chat templates that it has."""
    return [*(folder / name for name in TOKEN_FILES), folder / TEMPLATE, *named_templates(folder)]


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json. Raises ModelError where it is missing or not a JSON object."""
    return read_object(folder / "config.json")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make the model: one, or the shards that the index names.

    A whole model.safetensors goes before an index, which is then of other weights, as transformers has it. Raises
    ModelError where there are none or a shard is missing.
    """
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if (folder / INDEX).is_file():
        shards = read_object(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelError(f"{folder / INDEX} has no weight_map.", "Copy the file again.")
        names = sorted({str(name) for name in shards.values()})
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ModelError(
                f"{folder} lacks {len(missing)} of its {len(names)} weight files: {', '.join(missing[:3])}"
                f"{', …' if len(missing) > 3 else ''}.",
                "The copy or download was not finished; get those files again.",
            )
        return [folder / name for name in names]
    raise _no_weights(folder)


def headers(folder: Path) -> dict[Path, Header]:
    """Names, types and shapes of all tensors, by file, without reading the tensors."""
    return {path: read_header(path) for path in weight_files(folder)}


def dtype_of(folder: Path) -> str:
    """The number format that most of the weights are held in, as config.json calls it: `bfloat16` and so on.

    The files' headers say it, for config.json may not, or may name another. Raises ModelError where they are torn.
    """
    sizes: Counter[str] = Counter()
    for header in headers(folder).values():
        for tensor in header:
            sizes[tensor.dtype] += tensor.size
    return next((DTYPES[name] for name, _ in sizes.most_common() if name in DTYPES), "bfloat16")


def _refuse_other_things(folder: Path) -> None:
    """Say what `folder` is where it is not a model's folder at all."""
    if folder.suffix == ".gguf":
        raise ModelError(
            f"{folder} is a GGUF file; training from GGUF files is not supported yet.",
            "Give the folder or hub id of the same model in safetensors format.",
        )
    if folder.is_file():
        raise ModelError(f"{folder} is a file, not a model's folder.", f"Did you mean {folder.parent}?")
    if not folder.is_dir():
        raise ModelError(f"There is no folder {folder}.", "Check the path, or give a hub id.")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        base = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
        raise ModelError(
            f"{folder} is an adapter, not a whole model" + (f"; it was trained on {base}." if base else "."),
            f"Give that model: {base}" if base else "Give the model that the adapter was trained on.",
        )


def _no_weights(folder: Path) -> ModelError:
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        return ModelError(
            f"{folder} has only pickled weights (.bin), which can run code when they are read.",
            f"Where you trust the author, this keeps a copy as safetensors: ft models pull {folder} --allow-pickle",
        )
    if any(folder.glob("*.gguf")):
        return ModelError(
            f"{folder} has only GGUF weights; training from GGUF files is not supported yet.",
            "Give the folder or hub id of the same model in safetensors format.",
        )
    return ModelError(
        f"{folder} has no weights: neither model.safetensors nor {INDEX} is there.",
        "Copy the model's safetensors files into the folder.",
    )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model's or an adapter's folder. Raises ModelError where it is not one."""
    try:
        value = json.loads(read_bytes(path, LARGEST))
    except FileNotFoundError:
        message, hint = f"{path.parent} has no {path.name}.", "Is it the model's own folder?"
        raise ModelError(message, hint) from None
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}.", "Check the file's permissions."
        ) from error
    except json.JSONDecodeError as error:
        message = f"{path}:{error.lineno}:{error.colno} is not JSON: {error.msg}."
        raise ModelError(message, "The file is damaged; copy it again.") from error
    except (ValueError, RecursionError) as error:  # no text, a number of 5,000 digits, nested without end
        raise ModelError(f"{path} is not JSON text.", "The file is damaged; copy it again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object.", "The file is damaged; copy it again.")
    return value
