"""Embedding and output layer of a merged model: new rows, trained ones, and whether the two are still one matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.tokenization.new_tokens import NewToken
from engine.errors import ModelError
from engine.merging.adapter import LoraAdapter
from engine.merging.rows import Factors, Grown, LowRank, Magnified, Replaced, Rows, Shifted, Stored
from engine.models.language_model import of_language_model
from engine.models.saved_adapter import EMBEDDINGS
from engine.models.tensors import RowTensors

HEADS = ("lm_head", "embed_out", "output")
"""Names of the output layer in models."""
HEAD = "lm_head.weight"
"""Name in files of an output layer that the base does not have for itself."""


@dataclass(frozen=True)
class Vocabulary:
    """The two matrices in a base, and the layers of the adapter that are about them."""

    tensors: RowTensors
    tokens: Sequence[NewToken]
    adapter: LoraAdapter
    embedding: str
    """Name of the embedding in the base's files."""
    head: str | None
    """Name of the output layer there; None where the embedding is the output too."""
    embedding_path: str | None
    head_path: str | None
    """Their paths in the adapter, where it has something about them."""
    dropped: frozenset[str] = frozenset()

    @staticmethod
    def of(
        tensors: RowTensors, config: Mapping[str, Any], tokens: Sequence[NewToken], adapter: LoraAdapter
    ) -> "Vocabulary":
        """Find both in a base. Raises ModelError where an embedding is needed and not found."""
        embedding, head = _named(tensors, EMBEDDINGS), _named(tensors, HEADS)
        tied = head is None or is_tied(config)
        return Vocabulary(
            tensors,
            tokens,
            adapter,
            embedding or "",
            None if tied else head,
            _path(adapter, EMBEDDINGS) if embedding else None,
            _path(adapter, HEADS),
            frozenset({head} if tied and head else ()),
        )

    @property
    def paths(self) -> frozenset[str]:
        """Layers of the adapter that are treated here."""
        return frozenset(filter(None, (self.embedding_path, self.head_path)))

    def changed(self) -> dict[str, Rows]:
        """Sources of the tensors that are not as in the base, by name."""
        if not self.embedding:
            if self.paths or self.tokens:
                raise ModelError(
                    f"{self.adapter.folder}: the adapter changes the embedding, which the base's files do not have.",
                    "Use the base model that the adapter was trained on.",
                )
            return {}
        base = self._grown(self.embedding)
        embedding = self._of_embedding(base)
        found = {} if embedding is None else {self.embedding: embedding}
        if self.head is not None:
            return found | self._of_head(self._grown(self.head), self.head)
        if self._one_matrix:
            return found
        # Of a tied matrix, only what names a side changes that side.
        head = self._of_head(base, HEAD)
        if not head and embedding is not None and self.embedding_path is not None:
            head = {HEAD: base}
        return found | head

    def untied(self, changed: Mapping[str, Rows]) -> bool:
        """Return True if the output is a matrix of its own that it was not in the base."""
        return self.head is None and HEAD in changed

    def grown(self, changed: Mapping[str, Rows]) -> int | None:
        """Rows of the embedding where they are more than the base has."""
        rows = changed.get(self.embedding)
        if rows is None or rows.shape[0] == self.tensors.infos[self.embedding].shape[0]:
            return None
        return rows.shape[0]

    def starts(self, changed: Mapping[str, Rows]) -> dict[str, Rows]:
        """Sources of the changed tensors before training, where they are not the base's of the same name and shape."""
        found = {}
        for name in (self.embedding, self.head or HEAD):
            if name in changed:
                start = self._grown(name if name in self.tensors.infos else self.embedding)
                if isinstance(start, Grown) or name not in self.tensors.infos:
                    found[name] = start
        return found

    @property
    def _one_matrix(self) -> bool:
        """True if a tied matrix was trained as one: PEFT does so with rows of tokens, and where it is told to."""
        by_rows = self.embedding_path is not None and "rows" in self.adapter.layers[self.embedding_path]
        if not self.adapter.keeps_tied and not (by_rows and self.head_path is None):
            return False
        if self.embedding_path is None and self.head_path is not None:
            raise ModelError(
                f"{self.adapter.folder}: the adapter has the output layer alone, trained with ensure_weight_tying, and "
                "does not say what became of the embedding.",
                "Train it with embed_tokens as the target.",
            )
        return True

    def _grown(self, name: str) -> Rows:
        base = Stored(self.tensors, name)
        ids = [id_ for path in self.paths for id_ in self.adapter.token_ids(path)]
        need = max([base.shape[0], *(id_ + 1 for id_ in ids), *(token.id + 1 for token in self.tokens)])
        made = [token for token in self.tokens if not token.was_there]
        if need == base.shape[0] and not made:
            return base
        had = base.shape[0]
        pieces = {token.id: tuple(piece for piece in token.pieces if piece < had) for token in made}
        return Grown(base, need, {id_: found for id_, found in pieces.items() if found})

    def _of_embedding(self, base: Rows) -> Rows | None:
        """Source of the embedding; None where it is as in the base."""
        if self.embedding_path is None:
            return base if isinstance(base, Grown) else None
        path, own = self.embedding_path, base
        if "weight" in self.adapter.layers[path]:
            own = Stored(self.adapter.tensors, self.adapter.layers[path]["weight"])
        a, b = self.adapter.tensor(path, "embedding_A"), self.adapter.tensor(path, "embedding_B")
        update = None
        if a is not None and b is not None:
            update = Factors(a.T, b.T, self.adapter.scale(path, a.shape[0]))
        elif self.adapter.mlx and (linear := self.adapter.factors(path)) is not None:
            update = linear.transposed  # mlx-lm's embeddings have A for the tokens
        if update is not None:
            if "magnitude" in self.adapter.layers[path]:
                raise ModelError(
                    f"{self.adapter.folder}: DoRA on the embedding ({path}) is not merged.",
                    "Use the adapter beside its base, or train the embedding whole: adapter.modules_to_save.",
                )
            own = LowRank(self._same_shape(own, update, path), update)
        return self._with_rows(own, path)

    def _of_head(self, base: Rows, name: str) -> dict[str, Rows]:
        """Sources of the output layer's tensors; empty where they are as in the base."""
        path = self.head_path
        if path is None:
            return {name: base} if isinstance(base, Grown) else {}
        own, roles, found = base, self.adapter.layers[path], {}
        if "weight" in roles:
            own = Stored(self.adapter.tensors, roles["weight"])
        bias = name.removesuffix("weight") + "bias"
        if "bias" in roles:
            found[bias] = self._bias(bias, Stored(self.adapter.tensors, roles["bias"]))
        if (update := self.adapter.factors(path)) is not None:
            own = LowRank(self._same_shape(own, update, path), update)
            if (magnitude := self.adapter.tensor(path, "magnitude")) is not None:
                own = Magnified(own, magnitude.reshape(-1), 0)
            if (shift := self.adapter.tensor(path, "B.bias")) is not None:
                found[bias] = Shifted(self._bias(bias, Stored(self.tensors, bias)), shift * update.scale)
        return {name: self._with_rows(own, path), **found}

    def _bias(self, name: str, rows: Rows) -> Rows:
        if name not in self.tensors.infos:
            raise ModelError(
                f"{self.adapter.folder}: the adapter has a bias for the output layer, which has none in its base.",
                "Use the adapter beside its base.",
            )
        return rows

    def _with_rows(self, own: Rows, path: str) -> Rows:
        rows = self.adapter.tensor(path, "rows")
        if rows is None:
            return own
        ids = self.adapter.token_ids(path)
        if rows.shape != (len(ids), own.shape[1]) or max(ids, default=0) >= own.shape[0]:
            raise self.adapter.damaged(path)
        return Replaced(own, ids, rows)

    def _same_shape(self, rows: Rows, update: Factors, path: str) -> Rows:
        if rows.shape != update.shape:
            raise ModelError(
                f"{self.adapter.folder}: the adapter is for another model: {path} has {update.shape[0]} tokens of "
                f"{update.shape[1]} values there, and {rows.shape[0]} of {rows.shape[1]} in the base.",
                "Use the base model that the adapter was trained on.",
            )
        return rows


def is_tied(config: Mapping[str, Any]) -> bool:
    """Return True if config.json says that embedding and output are one matrix."""
    text = config.get("text_config")
    own = text.get("tie_word_embeddings") if isinstance(text, dict) else None
    return bool(config.get("tie_word_embeddings", own))


def _named(tensors: RowTensors, names: Sequence[str]) -> str | None:
    """The tensor `weight` of a layer of one of these names in the language model; the outermost of several."""
    found = [
        name
        for name in of_language_model(tensors.infos)
        if name.endswith(".weight") and name.split(".")[-2] in names and len(tensors.infos[name].shape) == 2
    ]
    return min(found, key=lambda name: name.count("."), default=None)


def _path(adapter: LoraAdapter, names: Sequence[str]) -> str | None:
    found = [path for path in adapter.layers if path.rpartition(".")[2] in names]
    return min(found, key=lambda path: path.count("."), default=None)
