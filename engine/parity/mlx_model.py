"""Exports that mlx-lm loads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.types import Float32, Message
from engine.models.local import read_config
from engine.models.mlx_names import transformers_name
from engine.parity.exported import Distributions, Probe, log_softmax, program
from engine.parity.torch_model import template_ids
from engine.runs.directory.trained_model import TrainedModel


class MlxModel:
    """A model as mlx-lm's own `load` gives it. See `engine.parity.exported.Exported`."""

    def __init__(self, model: Any, tokenizer: Any, kind: str, whole: bool) -> None:
        """`kind` is the model_type of its config.json; `whole` is False for an adapter beside its base."""
        self.model, self.tokenizer, self.kind, self.whole = model, tokenizer, kind, whole
        self.program = program("mlx-lm", "mlx-lm")

    def next_tokens(self, probes: Sequence[Probe]) -> Distributions:
        import mlx.core as mx

        found = []
        for probe in probes:
            tokens = mx.array(probe.tokens[: int(probe.positions[-1]) + 1])
            logits = self.model(tokens[None])[0][mx.array(probe.positions)].astype(mx.float32)
            found.append(log_softmax(np.asarray(logits)))
        return Distributions(np.concatenate(found))

    def text_ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return template_ids(self.tokenizer, messages)

    def weights(self) -> Iterator[tuple[str, Float32]]:
        if not self.whole:
            return
        import mlx.core as mx
        from mlx import nn

        for path, module in self.model.named_modules():
            if "weight" not in module:
                continue
            value = module.weight
            if isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
                biases = module.get("biases")
                value = mx.dequantize(
                    value, module.scales, biases, module.group_size, module.bits, mode=module.mode
                )
            yield f"{transformers_name(self.kind, path)}.weight", np.asarray(value.astype(mx.float32))


@contextmanager
def open_folder(model: TrainedModel, out: Path, facts: Mapping[str, Any]) -> Iterator[MlxModel]:
    """A whole model."""
    from mlx_lm.utils import load

    loaded, tokenizer, *_ = load(str(out))
    yield MlxModel(loaded, tokenizer, str(read_config(out).get("model_type")), whole=True)


@contextmanager
def open_adapter(model: TrainedModel, out: Path, facts: Mapping[str, Any]) -> Iterator[MlxModel]:
    """An adapter in mlx-lm's layout, on the base's folder, whose tokenizer and template mlx-lm takes."""
    from mlx_lm.utils import load

    base = model.base_folder()
    loaded, tokenizer, *_ = load(str(base), adapter_path=str(out))
    yield MlxModel(loaded, tokenizer, str(read_config(base).get("model_type")), whole=False)
