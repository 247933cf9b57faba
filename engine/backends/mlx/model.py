"""Load a model of mlx-lm as the plan says, and put the adapter on it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path
from safetensors import safe_open

from engine.backend_spec import Dtype
from engine.backends.mlx import adapter as adapters
from engine.backends.mlx import families, saved_adapter, vocabulary
from engine.backends.mlx.layers import Dropout, inputs_of
from engine.backends.mlx.loss import Head
from engine.backends.mlx.vocabulary import head_path
from engine.config.schema import TrainConfig
from engine.data.tokenization.tokenizer import new_tokens
from engine.errors import FtError, ModelError, first_line
from engine.hardware.memory import is_exhaustion
from engine.models.language_model import ROUTERS, TOWER, of_language_model
from engine.models.local import headers, read_config
from engine.models.mismatch import refuse_damaged_weights
from engine.planning.plan import Plan

DTYPES: dict[Dtype, mx.Dtype] = {"bf16": mx.bfloat16, "fp16": mx.float16, "fp32": mx.float32}
BITS = {"8bit": 8, "4bit": 4}
CHECK = "check that the folder is complete (`ft models show`), or use backend: peft"
GROUPS = (64, 32)
"""Weights that share a scale; the second where a row does not divide by the first."""


def load_base(plan: Plan, config: TrainConfig, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model of a transformers or MLX folder, all its weights frozen, and its config. Raises ModelError."""
    model, about = open_model(folder, config.model.trust_remote_code)
    settle_formats(model, DTYPES[plan.weights_dtype])
    if config.model.quantization != "none":
        quantise(model, BITS[config.model.quantization])
    damaged = []
    for name, value in tree_flatten(model.parameters()):
        # one by one: the weights as they lie in the file are gone when the next is read
        if mx.issubdtype(value.dtype, mx.floating) and not mx.isfinite(value).all():
            damaged.append(name)
        mx.eval(value)
    refuse_damaged_weights(folder, damaged)
    vocabulary.grow(model, about, new_tokens(folder, config.model.add_tokens), folder)
    model.freeze()
    return model, about


def open_model(folder: Path, trust_remote_code: bool = False) -> tuple[Any, dict[str, Any]]:
    """The model of a folder as it lies there, its weights not read yet, and its config. Raises ModelError."""
    from mlx_lm.utils import load_model

    try:
        about = read_config(folder)
        model, about = load_model(
            folder,
            lazy=True,
            model_config=families.settings(about),
            trust_remote_code=trust_remote_code,
            **families.hooks(about, folder),
        )
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error) or isinstance(error, FtError):
            raise
        raise ModelError(f"{folder}: the model does not load in MLX: {first_line(error)}", CHECK) from error
    return model, about


@contextmanager
def trying_out(folder: Path) -> Iterator[None]:
    """Turn a failure of the model of `folder` as it first computes into a ModelError."""
    try:
        yield
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error) or isinstance(error, FtError):
            raise
        raise ModelError(f"{folder}: the model does not run in MLX: {first_line(error)}", CHECK) from error


def settle_formats(model: Any, dtype: mx.Dtype) -> None:
    """All weights in the plan's format, but for those that the model's code wants kept as they are."""
    wanted = getattr(model, "cast_predicate", lambda path: True)

    def cast(path: str, value: mx.array) -> mx.array:
        return value.astype(dtype) if wanted(path) and mx.issubdtype(value.dtype, mx.floating) else value

    model.update(tree_map_with_path(cast, model.parameters()))


def quantise(model: Any, bits: int) -> None:
    """Hold the linear layers in `bits`, but for the head and what routes to experts, which no backend quantises."""
    head = head_path(model)

    def settings(path: str, module: Any) -> bool | dict[str, int]:
        if not isinstance(module, nn.Linear) or path == head or path.rpartition(".")[2] in ROUTERS:
            return False
        group = next((size for size in GROUPS if inputs_of(module) % size == 0), None)
        return {"group_size": group, "bits": bits} if group else False

    nn.quantize(model, class_predicate=settings)


def is_quantised(model: Any) -> bool:
    """Return True if any of the weights are held in few bits."""
    return any(isinstance(module, nn.QuantizedLinear) for module in model.modules())


def body_dtype(model: Any) -> mx.Dtype:
    """The format of the weights that are not packed in few bits."""
    formats = (value.dtype for _, value in tree_flatten(model.parameters()))
    return next((dtype for dtype in formats if mx.issubdtype(dtype, mx.floating)), mx.float32)


def body_of(model: Any) -> Any:
    """The model without its head."""
    return getattr(model, "model", None)


def head_of(model: Any) -> Head | None:
    """The output layer where it is a layer of MLX's own; a trial has to show that nothing else is done."""
    modules = dict(model.named_modules())
    layer = modules.get(head_path(model))
    plain = (
        *(nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding),
        *(vocabulary.EmbeddingRows, vocabulary.HeadRows),
    )
    return Head(layer) if type(layer) in plain else None


def vocabulary_of(model: Any) -> int:
    """Tokens that the model has an embedding for; config.json need not say it."""
    embeddings = (nn.Embedding, nn.QuantizedEmbedding)
    sizes = [module.weight.shape[0] for _, module in model.named_modules() if isinstance(module, embeddings)]
    return int(max(sizes))


def with_adapter(
    model: Any, config: TrainConfig, about: dict[str, Any], folder: Path, saved: Path | None
) -> tuple[adapters.Adapter | None, Dropout]:
    """Put a fresh adapter on the model, or the one in `saved`; None where every weight is trained.

    Raises ModelError where what is trained could not be written as transformers names it.
    """
    kind = about["model_type"]
    if config.adapter.type == "none":
        if is_quantised(model):
            raise ModelError(
                f"{folder}: weights held in few bits cannot be trained themselves.",
                "Train an adapter on them (adapter.type: lora), or take the unquantised model.",
            )
        if left := _left_out(folder):
            raise ModelError(
                f"{folder}: MLX leaves out what sees or hears ({left[0]}, …), so that no whole model would come of it.",
                "Train an adapter (adapter.type: lora), or use backend: peft for this model.",
            )
        model.unfreeze()
        _must_cross(kind, folder, [path for path, _ in tree_flatten(model.trainable_parameters())])
        return None, Dropout(0.0)
    if saved is not None:
        adapter = replace(saved_adapter.read(saved, kind, model), dropout=config.adapter.dropout)
    else:
        tokens = new_tokens(folder, config.model.add_tokens)
        adapter = replace(
            adapters.fresh(config, kind, adapters.targets_of(model, config, kind, head_path(model)), model),
            beside=vocabulary.fresh(model, config.adapter, tokens),
            ids=tuple(sorted(token.id for token in tokens)),
            tied="lm_head" not in model,
        )
    drops = adapter.install(model)
    _must_cross(kind, folder, [f"{path}.weight" for path in (*adapter.layers, *adapter.beside)])
    return adapter, drops


def _left_out(folder: Path) -> list[str]:
    """Weights outside the language model."""
    names = [tensor.name for header in headers(folder).values() for tensor in header]
    own = set(of_language_model(names))
    return [name for name in names if name not in own and TOWER.search(name.replace(".", "_"))]


def _must_cross(kind: str, folder: Path, paths: Sequence[str]) -> None:
    """Weights that mlx-lm fuses or renames would be found by nothing else. Raises ModelError."""
    names: set[str] = set()
    for file in folder.glob("model*.safetensors"):
        with safe_open(file, "np") as tensors:
            names |= {families.mlx_name(kind, name) for name in tensors.keys()}  # noqa: SIM118 - not a dict
    strange = [path for path in paths if path not in names and path.removeprefix("model.") not in names]
    if strange:
        raise ModelError(
            f"{folder}: MLX lays out {strange[0]} unlike transformers, so what it trains could be used nowhere else.",
            "Use backend: peft for this model, or name other layers in adapter.target_modules.",
        )


def checkpoint_layers(model: Any) -> None:
    """Let every layer of the model keep its input alone, and be computed again in the backward pass."""
    for layer in model.layers:
        layer.__class__ = _checkpointed(type(layer))


def _checkpointed(kind: Any) -> type:
    class Checkpointed(kind):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            # What is only captured takes no gradient, so all arrays and trained weights are passed.
            places = [i for i, value in enumerate(arguments) if isinstance(value, mx.array)]

            def run(trained: Any, *arrays: mx.array) -> Any:
                self.update(trained)
                given = list(arguments)
                for place, array in zip(places, arrays, strict=True):
                    given[place] = array
                return kind.__call__(self, *given, **named)

            return mx.checkpoint(run)(self.trainable_parameters(), *[arguments[i] for i in places])

    return Checkpointed
