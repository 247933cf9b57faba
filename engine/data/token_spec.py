"""Token specs: keys of a recipe, and files, that decide how rows become tokens in runs, caches, plans and previews."""

import json
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from engine.methods import Samples, method_named
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
    """Everything that the tokens of a row depend on besides the row and its format. Add a new key here and in `of`."""

    model: str = "starter"
    revision: str | None = None
    chat_template: str = "auto"
    template_variables: str = "{}"
    """As JSON: a spec is compared, and sent to other processes."""
    train_on: Literal["assistant", "last", "all"] = "assistant"
    add_tokens: tuple[str, ...] = ()
    max_seq_length: int = 2048
    chunk_overlap: int = 64
    samples: Samples = "supervised"
    """Samples that the training method takes of a row."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "add_tokens", tuple(self.add_tokens))  # a list where it came as JSON

    @classmethod
    def of(cls, config: "TrainConfig") -> Self:
        """Take the keys from a recipe, and the samples from its training method."""
        return cls(
            model=config.model.base,
            revision=config.model.revision,
            chat_template=config.model.chat_template,
            template_variables=json.dumps(config.model.template_variables or {}, sort_keys=True),
            train_on=config.data.train_on,
            add_tokens=tuple(config.model.add_tokens),
            max_seq_length=config.model.max_seq_length,
            chunk_overlap=config.data.chunk_overlap,
            samples=method_named(config.training.method).samples,
        )

    def encoding(self) -> "TokenSpec":
        """Part that decides how a text is encoded: without the lengths at which it is cut or split later."""
        own = {field.name: getattr(self, field.name) for field in fields(TokenSpec)}
        return replace(TokenSpec(**own), max_seq_length=0, chunk_overlap=0)

    def prompts(self) -> "TokenSpec":
        """Part that decides how a prompt is rendered for a given model."""
        return TokenSpec(chat_template=self.chat_template, template_variables=self.template_variables)

    def files(self, model_dir: Path) -> list[Path]:
        """Files whose content decides the tokens, also those that do not exist: one that appears changes the tokens."""
        return [*token_files(model_dir), Path(self.chat_template).expanduser()]

    def stamps(self, model_dir: Path) -> tuple[Stamp, ...]:
        """Stamps that change whenever one of the files does."""
        return tuple(map(stamp, self.files(model_dir)))

    def encoder(self, model_dir: Path, day: date | None = None) -> "RowEncoder":
        """Make the encoder of rows; `day` is the date for a template that writes it, None is today.

        Raises `ModelError` and `ConfigError`.
        """
        from engine.data.tokenization.row_encoder import RowEncoder

        tokenizer = self.tokenizer(model_dir, day)
        added = frozenset(token.id for token in tokenizer.new)
        return RowEncoder(tokenizer, self.train_on, replace(room_of(model_dir), added=added), self.samples)

    def tokenizer(self, model_dir: Path, day: date | None = None) -> "Tokenizer":
        """The model's tokenizer with the recipe's chat template. Raises `ModelError` and `ConfigError`."""
        from engine.data.tokenization.tokenizer import Tokenizer

        variables = json.loads(self.template_variables)
        return Tokenizer.load(model_dir, self.chat_template, day, variables, self.add_tokens)


def stamp(path: Path) -> Stamp:
    """Stamp of a file, which changes when the file does."""
    try:
        status = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), status.st_size, status.st_mtime_ns
