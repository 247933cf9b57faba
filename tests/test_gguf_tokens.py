"""llama.cpp cuts a text into the tokens that the model was trained with, whatever kind of tokenizer it has."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from engine.data.tokenization import tokenizer as ft
from engine.data.types import Message
from engine.errors import MachineError, ModelError
from engine.export.gguf import llama_cpp_tokens, pre_tokenizer
from engine.export.gguf.nasty_text import LINES
from engine.export.gguf.tokens import differences
from engine.parity.llama_cpp import loaded
from engine.parity.tokens import compare
from tests.llama_cpp import prompt_length
from tests.test_gguf import exported
from tests.tiny import CHAT_TEMPLATE, CORPUS, make_family

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
WORDS = ["<think>", "</think>"]
TEXT = [*CORPUS, *LINES] * 3


def byte_level(expression: str | None, ignore_merges: bool = False, digits: bool = False) -> Tokenizer:
    """Byte-level BPE that cuts by an expression, or by the one that is built in."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    cuts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if expression:
        cuts.append(pre_tokenizers.Split(Regex(expression), "isolated"))
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=expression is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return learned(
        tokenizer, trainers.BpeTrainer(vocab_size=1500, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )


def composing() -> Tokenizer:
    tokenizer = byte_level(pre_tokenizer.QWEN2)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def sentencepiece(prefix: bool) -> Tokenizer:
    """BPE as converted from SentencePiece: a character for spaces, bytes for what is not in the vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaces = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<unk>", *SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    latin = [line for line in TEXT if line.isascii()]
    learned(tokenizer, trainers.BpeTrainer(vocab_size=1500, special_tokens=special), latin)
    body = json.loads(tokenizer.to_str())
    body["added_tokens"] = [token for token in body["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(body))


def metaspace() -> Tokenizer:
    """The same with the spaces changed by the pre-tokenizer, which begins a text alone with one."""
    tokenizer = sentencepiece(prefix=True)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


def learned(tokenizer: Tokenizer, trainer: Any, text: list[str] = TEXT) -> Tokenizer:
    trainer.show_progress = False
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in WORDS])
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A", None, [("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


KINDS: Mapping[str, tuple[Callable[[], Tokenizer], str]] = {
    "gpt2": (lambda: byte_level(None), "gpt-2"),
    "smollm2": (lambda: byte_level(None, digits=True), "smollm"),
    "llama 3": (lambda: byte_level(pre_tokenizer.LLAMA3, ignore_merges=True), "llama-bpe"),
    "phi 4": (lambda: byte_level(pre_tokenizer.LLAMA3), "dbrx"),
    "qwen": (composing, "qwen2"),
    "qwen 3.5": (lambda: byte_level(pre_tokenizer.QWEN35), "qwen35"),
    "phi 4 mini": (lambda: byte_level(pre_tokenizer.GPT4O), "gpt-4o"),
    "mistral nemo": (lambda: byte_level(pre_tokenizer.TEKKEN, ignore_merges=True), "tekken"),
    "llama 2": (lambda: sentencepiece(prefix=True), "default"),
    "llama 2, saved by transformers 5": (metaspace, "default"),
    "gemma": (lambda: sentencepiece(prefix=False), "default"),
}
COMPOSES = "it does not compose letters and marks (NFC)"
MARKS = "it takes marks for no part of a word"
UNLIKE: Mapping[str, str] = {"qwen": COMPOSES, "phi 4 mini": MARKS, "mistral nemo": MARKS}
"""What llama.cpp does not do as some tokenizers do; the proof says so, and that it is no fault of the file."""


def with_tokenizer(tokenizer: Tokenizer, folder: Path, tiny_model: Path, **config: Any) -> Path:
    """A tiny Llama with this tokenizer."""
    rows = tokenizer.get_vocab_size() + 7  # an embedding has often more rows than there are tokens
    make_family(folder, tiny_model, "Llama", {"vocab_size": rows, "num_hidden_layers": 1})
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "</s>"} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": tokenizer.token_to_id("<|im_end|>")})
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


def read(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_page_of_nasty_text_has_the_same_tokens(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    make, name = KINDS[kind]
    folder = with_tokenizer(make(), tmp_path / "model", tiny_model)
    file = exported(folder, tmp_path / "out")
    keys = read(file)
    assert keys["tokenizer.ggml.pre"] == name
    found = differences(file, ft.Tokenizer.load(folder))
    assert [(d.text, d.ours, d.theirs) for d in found if not d.reason] == []
    assert {d.reason for d in found} == ({UNLIKE[kind]} if kind in UNLIKE else set())


def test_wrong_pre_tokenizer_is_found(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_tokenizer(KINDS["llama 3"][0](), tmp_path / "model", tiny_model)
    monkeypatch.setattr("engine.export.gguf.vocabulary.pre_tokenizer_name", lambda tokenizer: "gpt-2")
    found = differences(exported(folder, tmp_path / "out"), ft.Tokenizer.load(folder))
    assert any("can't" in d.text and not d.reason for d in found)


def test_special_tokens_and_the_template_are_in_the_file(tiny_model: Path, tmp_path: Path) -> None:
    folder = with_tokenizer(byte_level(None), tmp_path / "model", tiny_model)
    keys = read(exported(folder, tmp_path / "out"))
    tokens, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert tokens[keys["tokenizer.ggml.bos_token_id"]] == "<s>"
    assert tokens[keys["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert tokens[keys["tokenizer.ggml.padding_token_id"]] == "</s>"
    assert keys["tokenizer.chat_template"] == CHAT_TEMPLATE
    assert [kinds[tokens.index(text)] for text in (*SPECIAL, *WORDS)] == [3, 3, 3, 3, 4, 4]
    assert kinds[-7:] == [5] * 7


@pytest.mark.parametrize("start", ["", "<s>"])
def test_a_conversation_has_as_many_tokens_as_it_was_trained_with(
    start: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = with_tokenizer(byte_level(None), tmp_path / "model", tiny_model)
    (folder / "chat_template.jinja").write_text(start + CHAT_TEMPLATE)
    trained = ft.Tokenizer.load(folder).prompt_ids([Message(role="user", content="Can't you?")])
    file = exported(folder, tmp_path / "out")
    assert prompt_length(file, [{"role": "user", "content": "Can't you?"}]) == len(trained)


def test_tokenizer_that_llama_cpp_does_not_have_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = with_tokenizer(byte_level(r"\w+|\W+"), tmp_path / "model", tiny_model)
    with pytest.raises(ModelError, match=r"by \\w\+\|\\W\+"):
        exported(folder, tmp_path / "out")


def test_missing_llama_cpp_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp_tokens, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="not proved") as missing:
        llama_cpp_tokens.llama_cpp_tokens(tmp_path / "file.gguf", ["a"])
    assert missing.value.hint == "pip install xllamacpp"


def test_file_that_llama_cpp_does_not_load_is_told(tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"llama\.cpp does not load .*file\.gguf"):
        llama_cpp_tokens.llama_cpp_tokens(tmp_path / "file.gguf", ["a"])


@pytest.mark.parametrize("kind", ["qwen", "phi 4 mini", "llama 2, saved by transformers 5"])
def test_gate_does_not_blame_the_file_for_what_llama_cpp_reads_otherwise(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = with_tokenizer(KINDS[kind][0](), tmp_path / "model", tiny_model)
    with loaded(exported(folder, tmp_path / "out"), folder) as llama:
        check = compare(ft.Tokenizer.load(folder), llama)
    assert check.different == ()
    assert all(text.endswith(UNLIKE[kind]) for text in check.explained)
    assert bool(check.explained) == (kind in UNLIKE)
