"""The models that a server answers for, by the name that a request gives."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.data.tokenization.tokenizer import Tokenizer
from engine.models.shape import TokenRoom
from engine.serving.grammar import Grammars
from engine.serving.refusals import no_model


@dataclass(frozen=True)
class Served:
    """A model under its name: how its prompts are written, and which adapter answers them."""

    name: str
    tokenizer: Tokenizer
    room: TokenRoom
    grammars: Grammars
    adapter: str | None = None
    """Name of the adapter in the decoder; None for the model as it was opened."""
    about: str = ""
    """Origin of the weights, for people."""


@dataclass(frozen=True)
class Catalogue:
    """All models of one server."""

    models: Mapping[str, Served]
    created: int = field(default_factory=lambda: int(time.time()))

    def named(self, name: str) -> Served:
        """The model of that name. Raises Refused: a model that is not here never gets another's answer."""
        found = self.models.get(name)
        if found is None:
            raise no_model(name, self.models)
        return found

    @cached_property
    def listed(self) -> list[dict[str, Any]]:
        """The models as /v1/models lists them."""
        return [self.described(model) for model in self.models.values()]

    def described(self, model: Served) -> dict[str, Any]:
        """One of them."""
        return {
            "id": model.name,
            "object": "model",
            "created": self.created,
            "owned_by": "ft",
            "max_model_len": model.room.positions,
            "root": model.about,
        }
