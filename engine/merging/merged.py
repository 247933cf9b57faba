"""Full weights of a trained model: the fp32 sum of base and adapter, made tensor by tensor, with numpy alone.

The output has the names of the base's files, so it is read wherever the base is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.data.tokenization.tokenizer import new_tokens
from engine.errors import ModelError
from engine.merging.adapter import LoraAdapter, read_lora
from engine.merging.dequantised import open_weights, quantization_of
from engine.merging.experts import expert_updates
from engine.merging.names import stored_name
from engine.merging.rows import Experts, Factors, Held, LowRank, Magnified, Rows, Shifted, Stored
from engine.merging.vocabulary import Vocabulary
from engine.models import adapter_files
from engine.models.local import read_config
from engine.models.saved_adapter import read_adapter
from engine.models.tensors import Float32, RowTensors
from engine.models.weight_headers import TensorInfo
from engine.runs.directory.trained_model import TrainedModel

CONV1D = ("gpt2", "openai-gpt", "decision_transformer", "imagegpt")
"""Families whose matrices lie the other way round in their files, `[inputs, outputs]` (transformers' Conv1D)."""
PROMPTS = ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")


@dataclass(frozen=True)
class MergedTensors:
    """Weights of a base with those of its tensors that are changed in other sources. See `RowTensors`."""

    base: RowTensors
    changed: Mapping[str, Rows]
    """Sources of what is not as in the base, and of tensors that the base does not have."""
    dropped: frozenset[str] = frozenset()
    """Tensors of the base's files that say nothing: the copy of a tied matrix."""
    untied: bool = False
    """True if the base has one matrix for embedding and output, and this has two."""
    vocabulary: int | None = None
    """Rows of the embedding where it has grown."""
    starts: Mapping[str, Rows] = field(default_factory=dict)
    """Sources of what changed tensors were before, where that is not the base's tensor of the same name: with rows for
    new tokens, or of an embedding that was the output layer too."""
    embedding: str = ""
    """Name of the embedding."""

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Names and shapes; the number format is the base's own."""
        own = {name: info for name, info in self.base.infos.items() if name not in self.dropped}
        usual = next(iter(own.values())).dtype
        for name, rows in self.changed.items():
            known = own.get(name) or TensorInfo(name, usual, rows.shape)
            own[name] = replace(known, shape=rows.shape)
        return own

    def rows(self, name: str) -> Rows:
        """Source of a tensor. Raises KeyError for a name that is not in `infos`."""
        self.infos[name]
        return self.changed.get(name) or Stored(self.base, name)

    def before(self, name: str) -> Rows | None:
        """Source of what a changed tensor was before; None for one that is not changed."""
        if name not in self.changed:
            return None
        return self.starts.get(name) or Stored(self.base, name)

    def read(self, name: str) -> Float32:
        rows = self.rows(name)
        return rows.read(0, rows.shape[0] if rows.shape else 1)

    def read_rows(self, name: str, start: int, stop: int) -> Float32:
        return self.rows(name).read(start, stop)


def merged_tensors(model: TrainedModel, base: Path) -> MergedTensors:
    """Weights of a trained model on the base in a folder, for a whole model its own.

    Raises ModelError where the adapter cannot be merged: it is for another model, damaged, or of a kind that is in no
    weight.
    """
    tensors = open_weights(base)
    if model.adapter is None:
        return MergedTensors(tensors, {})
    settings = adapter_files.read_settings(model.adapter)
    kind = str(settings.get("peft_type", "LORA"))
    if kind in PROMPTS:
        raise ModelError(
            f"{model.adapter}: virtual tokens ({kind.lower()}) are in no weight, and cannot be merged.",
            "Use the adapter beside its base: ft generate, ft serve, ft export --format adapter.",
        )
    if kind != "LORA":
        return _merged_by_peft(model, tensors, base)
    return _Merge.of(model, tensors, base).merged()


def _merged_by_peft(model: TrainedModel, tensors: RowTensors, base: Path) -> MergedTensors:
    """The same for types other than LoRA, with the whole base in memory meanwhile."""
    from engine.backends.torch.merge import merged_layers

    assert model.adapter is not None
    if held := quantization_of(base):
        raise ModelError(
            f"{model.adapter} is not a LoRA, and is merged onto unquantised weights alone; {base} has {held} ones.",
            "Fetch the unquantised model with `ft models pull`, and name it in the quantised one's model card.",
        )
    changed: dict[str, Rows] = {}
    for path, parts in merged_layers(base, model.adapter, new_tokens(base, model.spec.add_tokens)).items():
        for part, values in parts.items():
            name = stored_name(path, part, tensors.infos)
            if name is None or tensors.infos[name].shape != values.shape:
                raise ModelError(
                    f"{model.adapter}: the adapter changes {path}, which the base's files hold in another layout.",
                    "Use the adapter beside its base.",
                )
            changed[name] = Held(values)
    return MergedTensors(tensors, changed)


@dataclass(frozen=True)
class _Merge:
    """One adapter on one base."""

    adapter: LoraAdapter
    tensors: RowTensors
    config: Mapping[str, Any]
    vocabulary: Vocabulary

    @staticmethod
    def of(model: TrainedModel, tensors: RowTensors, base: Path) -> "_Merge":
        config = read_config(base)
        assert model.adapter is not None
        adapter = read_lora(model.adapter, str(config.get("model_type")))
        texts = model.spec.add_tokens
        if not texts and adapter.settings.get("trainable_token_indices"):
            texts = read_adapter(model.adapter).tokens
        vocabulary = Vocabulary.of(tensors, config, new_tokens(base, texts), adapter)
        return _Merge(adapter, tensors, config, vocabulary)

    def merged(self) -> MergedTensors:
        changed: dict[str, Rows] = {}
        for path in self.adapter.layers:
            if path not in self.vocabulary.paths:
                changed |= self._of_layer(path)
        of_vocabulary = self.vocabulary.changed()
        grown = self.vocabulary.grown(of_vocabulary)
        return MergedTensors(
            self.tensors,
            changed | of_vocabulary,
            self.vocabulary.dropped,
            self.vocabulary.untied(of_vocabulary),
            grown,
            self.vocabulary.starts(of_vocabulary),
            self.vocabulary.embedding,
        )

    def _of_layer(self, path: str) -> dict[str, Rows]:
        """Sources of a layer's tensors, by their names in the base's files."""
        changed: dict[str, Rows] = {}
        for part in ("weight", "bias"):
            if part in self.adapter.layers[path]:
                name = self._name(path, part)
                changed[name] = self._fitting(
                    path, name, Stored(self.adapter.tensors, self.adapter.layers[path][part])
                )
        update = self.adapter.factors(path)
        if update is None:
            return changed
        if experts := expert_updates(self.adapter, path, self.tensors.infos):
            return changed | {name: self._of_experts(path, name, made) for name, made in experts.items()}
        name = self._name(path, "weight")
        base = changed.get(name) or Stored(self.tensors, name)
        changed[name] = self._updated(path, base, update)
        if (shift := self.adapter.tensor(path, "B.bias")) is not None:
            bias = self._bias_name(path)
            changed[bias] = Shifted(changed.get(bias) or Stored(self.tensors, bias), shift * update.scale)
        return changed

    def _updated(self, path: str, base: Rows, update: Factors) -> Rows:
        """W + s B A, and its magnitude with DoRA, in the orientation of the base's matrix."""
        turned = self._is_transposed(path, base, update)
        oriented = update.transposed if turned else update
        if base.shape != oriented.shape:
            raise self._foreign(path, base.shape, update.shape)
        summed = LowRank(base, oriented)
        magnitude = self.adapter.tensor(path, "magnitude")
        return summed if magnitude is None else Magnified(summed, magnitude.reshape(-1), int(turned))

    def _is_transposed(self, path: str, base: Rows, update: Factors) -> bool:
        if base.shape != update.shape or update.shape[0] != update.shape[1]:
            return base.shape == update.shape[::-1]
        square = self.config.get("model_type") in CONV1D or bool(self.adapter.settings.get("fan_in_fan_out"))
        return square and not path.endswith("lm_head")

    def _of_experts(self, path: str, name: str, updates: tuple[Factors, ...]) -> Rows:
        base = Stored(self.tensors, name)
        return Experts(base, updates) if len(base.shape) == 3 else self._updated(path, base, updates[0])

    def _fitting(self, path: str, name: str, rows: Stored) -> Rows:
        """The rows, where they have the shape of the base's. Raises ModelError where they have not."""
        if rows.shape != self.tensors.infos[name].shape:
            raise self._foreign(path, self.tensors.infos[name].shape, rows.shape)
        return rows

    def _name(self, path: str, part: str) -> str:
        name = stored_name(path, part, self.tensors.infos)
        if name is None:
            raise ModelError(
                f"{self.adapter.folder}: the adapter changes {path}, of which the base's files have no {part}.",
                "Use the base model that the adapter was trained on.",
            )
        return name

    def _bias_name(self, path: str) -> str:
        name = stored_name(path, "bias", self.tensors.infos)
        if name is None:
            raise ModelError(
                f"{self.adapter.folder}: the adapter has a bias (lora_bias) for {path}, which has none in its base, so "
                "that no full weights hold it.",
                "Use the adapter beside its base, or train without lora_bias.",
            )
        return name

    def _foreign(self, path: str, own: tuple[int, ...], found: tuple[int, ...]) -> ModelError:
        return ModelError(
            f"{self.adapter.folder}: the adapter is for another model: {path} is {_by(found)} there, and {_by(own)} in "
            "the base.",
            "Use the base model that the adapter was trained on.",
        )


def _by(shape: tuple[int, ...]) -> str:
    return " by ".join(map(str, shape))
