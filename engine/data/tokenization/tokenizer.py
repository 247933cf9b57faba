"""A model folder's tokenizer and chat template, by `tokenizers` and jinja2 alone."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
import tokenizers

from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.message_style import Tools
from engine.data.tokenization.new_tokens import NewToken, extend
from engine.data.tokenization.template_lookup import (
    BUILT_IN,
    DEFAULT,
    TOOL_USE,
    for_other_programs,
    is_lent,
    template_texts,
    with_defaults,
)
from engine.data.tokenization.thought_blocks import CLOSING, OPENING, TAGS
from engine.data.tokenization.turn_shape import TurnShape, shape_of
from engine.data.types import Message
from engine.errors import ConfigError, ModelError
from engine.models.local import VOCABULARIES, read_object

LAST_ID = 1 << 31
NAMED_TOKENS = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_WRITTEN = re.compile(r"</?(?:think|tool_call|tool_response)>")
"""Words of reasoning and calls, as rows write them in an answer."""
CALL_MARKS = ("<tool_call>", "[TOOL_CALLS]", "<|python_tag|>")
"""Texts with which an answer begins its calls of tools."""
_MARKS = (OPENING, CLOSING, *itertools.chain(*TAGS), *CALL_MARKS, "</tool_call>", "[ARGS]")


class Tokenizer:
    """Text ↔ token ids, and messages → prompt ids.

    `eos_id` ends a text; a model may stop at any of `stop_ids` (its end-of-turn token among them). `prefix_ids` and
    `suffix_ids` are the ids that the tokenizer puts around a text. `delivered` are the chat templates by name, as other
    programs can render them.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        tokens: Mapping[str, str],
        stops: set[int],
        templates: Mapping[str, str],
        turn_end: str = "<|im_end|>",
        day: date | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        """`tokens`: `eos_token`… as text; `stops`: end tokens that the model's settings name; `templates` by name, see
        `template_texts`; `day`, `variables`: see ChatTemplate.

        `turn_end` is what the template may write as such, where the vocabulary has it as one token.
        """
        self.new: tuple[NewToken, ...] = ()
        """Tokens that the model's folder does not have."""
        backend.no_truncation()
        backend.no_padding()
        self.prefix_ids, self.suffix_ids = _around(backend)
        # The post-processor adds those tokens (a chat template writes its own) and trims spaces off offsets.
        backend.post_processor = tokenizers.processors.Sequence([])
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        self.added: Mapping[int, str] = {id_: token.content for id_, token in added.items()}
        named = set(tokens.values())
        self._special = {id_ for id_, token in added.items() if token.special or token.content in named}
        self.eos_id = _end_token(backend, tokens.get("eos_token", ""), stops)
        self._unwritten = {
            id_
            for id_, token in added.items()
            if token.special and not any(mark.startswith(token.content) for mark in _MARKS)
        }
        eos_text = backend.id_to_token(self.eos_id) or ""
        pad = backend.token_to_id(tokens.get("pad_token", ""))
        self.pad_id: int = pad if pad is not None else self.eos_id
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        own = {
            "turn_end": turn_end if turn_end and backend.token_to_id(turn_end) is not None else eos_text,
            "text_start": "".join(backend.id_to_token(id_) or "" for id_ in self.prefix_ids),
        }
        self.delivered: Mapping[str, str] = {
            name: for_other_programs(with_defaults(text, variables or {}), own)
            for name, text in templates.items()
        }
        self._chats = {
            name: ChatTemplate(templates[name], {**tokens, **own}, day, variables)
            for name in (DEFAULT, TOOL_USE)
            if templates.get(name)
        }
        _check_read(variables or {}, self._chats.values())
        self.lends_template = is_lent(templates)
        settings = {self.added[id_] for id_ in (*stops, self.eos_id) if id_ in self.added}
        self._shapes = {
            (name, with_tools): shape_of(chat, with_tools, settings, self._added_at)
            for name, chat in self._chats.items()
            for with_tools in (False, True)
        }
        shapes = self._shapes.values()
        learned = {self.encode([text], special=False)[0][-1] for shape in shapes for text in shape.ends}
        self.stop_ids = frozenset({*stops, self.eos_id, *learned})

    @classmethod
    def load(
        cls,
        model_dir: Path,
        chat_template: str = "auto",
        day: date | None = None,
        variables: Mapping[str, Any] | None = None,
        add_tokens: Sequence[str] = (),
    ) -> "Tokenizer":
        """Read the tokenizer of a model folder; `day` is the date that a template may write, None is today's, and
        `variables` are what else it reads.

        `chat_template`: `auto` (the model's own), one of ft's or of another package by its name, or the path of a
        .jinja file. `add_tokens`: texts that become one token each. Raises `ModelError` where the folder has no usable
        tokenizer, `ConfigError` where the path is wrong or the template reads no such variable, `MachineError` where
        the other package does not load.
        """
        config = _read(model_dir / "tokenizer_config.json")
        named = _read(model_dir / "special_tokens_map.json") | config
        tokens = {name: text for name in NAMED_TOKENS if (text := _token_text(named.get(name)))}
        templates = template_texts(model_dir, config, chat_template)
        turn_end = BUILT_IN.get(chat_template, "<|im_end|>")
        backend = _backend(model_dir)
        new = extend(backend, add_tokens)
        tokenizer = cls(backend, tokens, _stops(model_dir), templates, turn_end, day, variables)
        tokenizer.new = new
        return tokenizer

    @property
    def control_tokens(self) -> list[str]:
        """The added tokens that no text should hold: those that the tokenizer calls special, and those that end it.

        Others, as `<think>` and `<tool_call>`, are words that a model writes itself, and so do rows: they are none
        where a tokenizer calls them special either.
        """
        controls = (text for id_, text in self.added.items() if id_ in self._special or id_ in self.stop_ids)
        return [text for text in controls if not _WRITTEN.fullmatch(text)]

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Ids of each text; `special` adds what the tokenizer itself puts around a text."""
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        if special:
            return [[*self.prefix_ids, *encoding.ids, *self.suffix_ids] for encoding in encodings]
        return [encoding.ids for encoding in encodings]

    def encode_spans(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """Encodings whose offsets are the exact characters of each token; nothing is added."""
        return self._backend.encode_batch(list(texts), add_special_tokens=False)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of ids."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special)

    def written(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids: of special tokens, only those that mark reasoning and calls."""
        return self.decode([id_ for id_ in ids if id_ not in self._unwritten], skip_special=False)

    def prompt_ids(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """Ids of the messages under the chat template, with the generation prompt.

        Raises `ModelError` where there is no template or the template refuses the messages.
        """
        try:
            calls = any(message.has("tool_calls") for message in messages)
            text = self.template(tools, calls).render(messages, generation_prompt=True, tools=tools)
        except jinja2.TemplateError as error:
            raise ModelError(f"the chat template refuses the messages: {error}") from error
        return self.encode([text], special=False)[0]

    def template(self, tools: Tools = (), calls: bool = False) -> ChatTemplate:
        """The chat template: where there is one for rows with tools, those are shown by it, and also those that call
        tools without naming them where the other shows no calls.

        Raises `ModelError` where there is none.
        """
        chat = self._chats.get(self._name(tools, calls))
        if chat is None:
            raise ModelError(
                "the model has no chat template, and the rows are conversations",
                "Train with model.chat_template: chatml, another of ft's templates, or the path of a .jinja file.",
            )
        return chat

    def shape(self, tools: Tools = (), calls: bool = False) -> TurnShape:
        """Shape of what that template writes around an answer."""
        return self._shapes[self._name(tools, calls), bool(tools)]

    def _name(self, tools: Tools, calls: bool) -> str:
        if TOOL_USE not in self._chats or not (tools or calls):
            return DEFAULT
        return TOOL_USE if tools or not self._chats[DEFAULT].shows_calls else DEFAULT

    def _added_at(self, text: str) -> list[str]:
        """The added tokens with which a text begins."""
        ids = self.encode([text], special=False)[0]
        return [self.added[id_] for id_ in itertools.takewhile(self.added.__contains__, ids)]


def new_tokens(model_dir: Path, texts: Sequence[str]) -> tuple[NewToken, ...]:
    """Tokens that the texts become in the tokenizer of a model's folder. Raises ModelError where it has none."""
    return extend(_backend(model_dir), texts) if texts else ()


def write_extended(model_dir: Path, texts: Sequence[str], folder: Path) -> None:
    """Write the tokenizer of a model's folder, with the texts as tokens, into `folder`. Raises ModelError, OSError."""
    backend = _backend(model_dir)
    extend(backend, texts)
    (folder / "tokenizer.json").write_text(backend.to_str(pretty=True), encoding="utf-8")


def _check_read(variables: Mapping[str, Any], chats: Collection[ChatTemplate]) -> None:
    """Raise `ConfigError` for a variable that no template reads."""
    unread = [name for name in variables if not any(name in chat.reads for chat in chats)]
    if unread:
        read = sorted(set[str]().union(*(chat.reads for chat in chats)))
        raise ConfigError(
            f"model.template_variables: the chat template reads no {unread[0]}",
            f"It reads {', '.join(read)}." if read else "It reads none: leave the key out.",
        )


def _end_token(backend: tokenizers.Tokenizer, text: str, stops: set[int]) -> int:
    """Id of the end token: the named one, else the least of those that the model's settings name.

    Raises ModelError where there is none.
    """
    named: int | None = backend.token_to_id(text)
    if named is not None:
        return named
    if not stops:
        raise ModelError(
            "the tokenizer names no end token",
            "Give tokenizer_config.json an eos_token that is in the vocabulary.",
        )
    return min(stops)


def _around(backend: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and after a single text."""
    bare = backend.encode("a", add_special_tokens=False).ids
    whole = backend.encode("a", add_special_tokens=True).ids
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []


def _backend(model_dir: Path) -> tokenizers.Tokenizer:
    path = model_dir / "tokenizer.json"
    if path.is_file():
        try:
            return tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception on any file it cannot read
            raise ModelError(f"{path}: not a usable tokenizer: {error}", "Fetch the model again.") from error
    if not any((model_dir / name).is_file() for name in VOCABULARIES):
        raise ModelError(
            f"{model_dir}: the model has no tokenizer",
            "Put its tokenizer.json there; it comes with the model or with the one it was made from.",
        )
    return _converted(model_dir)


def _converted(model_dir: Path) -> tokenizers.Tokenizer:
    """Older models ship a vocabulary only; transformers knows how to make a tokenizer.json of it."""
    from transformers import AutoTokenizer

    try:
        # Never the model's own code, and never a question about it; what is made of it would be no tokenizer.json.
        loaded = AutoTokenizer.from_pretrained(model_dir, trust_remote_code=False, local_files_only=True)
        return tokenizers.Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except (OSError, ValueError, ImportError, AttributeError, LookupError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{model_dir}: no tokenizer.json, and none could be made: {error}",
            "Save it once with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…).",
        ) from error


def _stops(model_dir: Path) -> set[int]:
    """End tokens by id, from generation_config.json (one or a list), else config.json."""
    for name in ("generation_config.json", "config.json"):
        given = _read(model_dir / name).get("eos_token_id")
        if given is not None:
            ids = given if isinstance(given, list) else [given]
            if not all(
                isinstance(id_, int) and not isinstance(id_, bool) and 0 <= id_ < LAST_ID for id_ in ids
            ):
                raise ModelError(
                    f"{model_dir / name}: eos_token_id is {given!r}, which is neither a token's id nor a list of ids.",
                    "Put the id of the model's end token there.",
                )
            return set(ids)
    return set()


def _token_text(value: Any) -> str | None:
    """A token is written as text, or as an object that holds it under `content`."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def _read(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
