"""Models' folders with something wrong in them, by what it is: the tiny model with one file in another state."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TITLE = "\x1b]0;title\x07"
SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("vocab_size", "max_position_embeddings", "head_dim", "rms_norm_eps"),
)
NONSENSE: tuple[Any, ...] = ("64", -64, 0, 2.5, 10**10, True, [], [64, "x"], {}, float("nan"))
NO_MODELS: tuple[tuple[str, Any], ...] = (
    *(("model_type", kind) for kind in (None, "", 7, ["llama"], {}, "no_such_model", "../llama", TITLE)),
    ("architectures", "x"),
    ("rope_parameters", [1]),
    ("rope_scaling", "far"),
    ("tie_word_embeddings", "no"),
    ("quantization_config", 7),
    ("eos_token_id", "end"),
    ("eos_token_id", {"a": 1}),
    ("eos_token_id", [{"a": 1}]),
    ("eos_token_id", -5),
    ("eos_token_id", 10**30),
    ("eos_token_id", True),
)
Change = Callable[[Path], None]


def changes() -> Iterator[tuple[str, Change, bool]]:
    """Changes to a copy of the model, each with its name, and True if it concerns the tokenizer, which rows show."""
    for key in SIZES:
        for value in NONSENSE:
            if not (key == "rms_norm_eps" and value in (0, 2.5, 10**10)):
                yield f"{key} {value!r}", _set("config.json", key, value), False
    for key, value in NO_MODELS:
        yield f"{key} {value!r}"[:60], _set("config.json", key, value), key == "eos_token_id"
        if key == "eos_token_id":
            yield f"generation {value!r}", _set("generation_config.json", key, value), True
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        for what, data in _no_objects():
            yield f"{name} {what}", _write(name, data), name != "config.json"
    yield from _weights()
    yield from _tokenizers()
    yield from _templates()


def _no_objects() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "a list", b"[1]"
    yield "a number", b"7"
    yield "torn", b'{"a": '
    yield "deep", b'{"a":' * 50_000
    yield "bytes", bytes(range(256))
    yield "UTF-16", '{"a": 1}'.encode("utf-16")
    yield "digits", b'{"vocab_size": ' + b"1" * 5000 + b"}"
    yield "a code", json.dumps({TITLE: TITLE}).encode()


def _weights() -> Iterator[tuple[str, Change, bool]]:
    def file(header: bytes, length: int | None = None, data: bytes = bytes(16)) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header + data

    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    states = {
        "empty": b"",
        "short": b"\1\2\3",
        "a huge head": file(b"{}", 1 << 60),
        "a head past the end": file(b"{}", 4096),
        "no JSON": file(b"not JSON at all"),
        "a list": file(b"[1, 2]"),
        "no tensors": file(b"{}"),
        "no shape": file(json.dumps({"w": {"dtype": "F32"}}).encode()),
        "a strange dtype": file(json.dumps({"w": tensor | {"dtype": TITLE}}).encode()),
        "a negative shape": file(json.dumps({"w": tensor | {"shape": [-4]}}).encode()),
        "a shape of words": file(json.dumps({"w": tensor | {"shape": ["x"]}}).encode()),
        "offsets past the end": file(json.dumps({"w": tensor | {"data_offsets": [0, 1 << 50]}}).encode()),
        "offsets of words": file(json.dumps({"w": tensor | {"data_offsets": "ab"}}).encode()),
        "a deep head": file(b'{"a":' * 10_000),
    }
    for name, data in states.items():
        yield f"weights: {name}", _write("model.safetensors", data), False
    for name, body in {
        "empty": {},
        "no map": {"weight_map": 7},
        "a shard that is not there": {"weight_map": {"w": "model-00001-of-00002.safetensors"}},
        "a shard outside": {"weight_map": {"w": "../../model.safetensors"}},
        "a shard of another kind": {"weight_map": {"w": ["x"]}},
    }.items():
        yield f"index: {name}", _index(json.dumps(body).encode()), False
    yield "no weights", lambda folder: (folder / "model.safetensors").unlink(), False
    yield "pickled weights", _renamed("model.safetensors", "pytorch_model.bin"), False
    yield "a GGUF alone", _renamed("model.safetensors", "model.gguf"), False
    yield "no config", lambda folder: (folder / "config.json").unlink(), False
    yield "an adapter", _renamed("config.json", "adapter_config.json"), False


def _tokenizers() -> Iterator[tuple[str, Change, bool]]:
    yield "no tokenizer", lambda folder: (folder / "tokenizer.json").unlink(), True
    yield "a vocabulary of nothing", _renamed("tokenizer.json", "vocab.txt"), True
    yield "sentencepiece of nothing", _renamed("tokenizer.json", "tokenizer.model"), True
    for value in (7, ["x"], {"content": 7}, {}, TITLE, "not in the vocabulary"):
        yield f"eos_token {value!r}", _set("tokenizer_config.json", "eos_token", value), True
    for key in ("model", "added_tokens", "pre_tokenizer", "decoder"):
        yield f"tokenizer without {key}", _set("tokenizer.json", key, 7), True


def _templates() -> Iterator[tuple[str, Change, bool]]:
    for value in (7, True, [7], [{}], [{"name": 1, "template": 2}], {"default": 7}):
        yield f"chat_template {value!r}", _template_of(value), True
    for name, text in {
        "open": b"{% for m in messages %}",
        "unknown tag": b"{% magic %}",
        "unknown filter": b"{{ messages | magic }}",
        "no name": b"{{ nothing.at.all }}",
        "division": b"{{ 1 / 0 }}",
        "refusal": b"{{ raise_exception('no') }}",
        "code in a refusal": b"{{ raise_exception('\x1b]0;title\x07') }}",
        "inheritance": b"{% extends 'x' %}",
        "inclusion": b"{% include '/etc/hostname' %}",
        "not UTF-8": b"caf\xe9 {{ messages }}",
        "empty": b"",
        "no messages": b"hello",
        "python's insides": b"{{ ''.__class__.__mro__ }}",
        "long refusal": b"{{ raise_exception('no ' * 9000) }}",
    }.items():
        yield f"template: {name}", _write("chat_template.jinja", text), True


def _set(name: str, key: str, value: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        body = json.loads(path.read_text()) if path.exists() else {}
        _replace(path, json.dumps(body | {key: value}).encode())

    return change


def _write(name: str, data: bytes) -> Change:
    return lambda folder: _replace(folder / name, data)


def _index(data: bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_bytes(data)

    return change


def _renamed(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        (folder / old).rename(folder / new)

    return change


def _template_of(value: Any) -> Change:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        _set("tokenizer_config.json", "chat_template", value)(folder)

    return change


def _replace(path: Path, data: bytes) -> None:
    """A file in the place of another, or of a link to one that is shared."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
