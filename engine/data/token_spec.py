"""Keys of a recipe, and files, that decide how rows become tokens: one list for runs, caches, plans and previews."""

import json
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from engine.models.local import token_files
from engine.models.sizing import room_of

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.tokenization.row_encoder import RowEncoder
    from engine.data.tokenization.tokenizer import Tokenizer

Stamp = tuple[str, int, int]
"""A file's path, size in bytes and time of change in nanoseconds; -1 where it does not exist."""


@dataclass(frozen=True)
class TokenSpec:
    """What the tokens of a row depend on besides the row and its format. A new key is added here and in `of`."""

    model: str = "starter"
    revision: str | None = None
    chat_template: str = "auto"
    template_variables: str = "{}"
    """As JSON: a spec is compared, and sent to other processes."""
    train_on: Literal["assistant", "last", "all"] = "assistant"
    add_tokens: tuple[str, ...] = ()
    max_seq_length: int = 2048
    chunk_overlap: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "add_tokens", tuple(self.add_tokens))  # a list where it came as JSON

    @classmethod
    def of(cls, config: "TrainConfig") -> Self:
        """The keys of a recipe."""
        return cls(
            model=config.model.base,
            revision=config.model.revision,
            chat_template=config.model.chat_template,
            template_variables=json.dumps(config.model.template_variables or {}, sort_keys=True),
            train_on=config.data.train_on,
            add_tokens=tuple(config.model.add_tokens),
            max_seq_length=config.model.max_seq_length,
            chunk_overlap=config.data.chunk_overlap,
        )

    def encoding(self) -> "TokenSpec":
        """The part that decides how a text is encoded: without the lengths at which it is cut or split later."""
        own = {field.name: getattr(self, field.name) for field in fields(TokenSpec)}
        return replace(TokenSpec(**own), max_seq_length=0, chunk_overlap=0)

    def prompts(self) -> "TokenSpec":
        """The part that decides how a prompt is written for a model that is at hand."""
        return TokenSpec(chat_template=self.chat_template, template_variables=self.template_variables)

    def files(self, model_dir: Path) -> list[Path]:
        """Files whose content decides the tokens, whether they exist or not: one that appears changes them too."""
        return [*token_files(model_dir), Path(self.chat_template).expanduser()]

    def stamps(self, model_dir: Path) -> tuple[Stamp, ...]:
        """Changes whenever one of the files does."""
        return tuple(map(stamp, self.files(model_dir)))

    def encoder(self, model_dir: Path, day: date | None = None) -> "RowEncoder":
        """What encodes rows; `day` is the date that a template may write, None is today's.

        Raises `ModelError` and `ConfigError`.
        """
        from engine.data.tokenization.row_encoder import RowEncoder

        tokenizer = self.tokenizer(model_dir, day)
        added = frozenset(token.id for token in tokenizer.new)
        return RowEncoder(tokenizer, self.train_on, replace(room_of(model_dir), added=added))

    def tokenizer(self, model_dir: Path, day: date | None = None) -> "Tokenizer":
        """The model's tokenizer with the recipe's chat template. Raises `ModelError` and `ConfigError`."""
        from engine.data.tokenization.tokenizer import Tokenizer

        variables = json.loads(self.template_variables)
        return Tokenizer.load(model_dir, self.chat_template, day, variables, self.add_tokens)


def stamp(path: Path) -> Stamp:
    """What changes when a file does."""
    try:
        status = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), status.st_size, status.st_mtime_ns
