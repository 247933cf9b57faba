"""Exports that mlx-lm loads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.types import Float32, Message
from engine.models.local import read_config
from engine.models.mlx_names import transformers_name
from engine.parity.exported import Distributions, Heartbeat, Probe, log_softmax, program
from engine.parity.torch_model import template_ids
from engine.runs.directory.trained_model import TrainedModel

CHUNK = 64
"""Tokens that are read between two heartbeats."""


class MlxModel:
    """A model as mlx-lm's own `load` gives it. See `engine.parity.exported.Exported`."""

    def __init__(self, model: Any, tokenizer: Any, kind: str, heartbeat: Heartbeat, whole: bool) -> None:
        """`kind` is the model_type of its config.json; `whole` is False for an adapter beside its base."""
        self.model, self.tokenizer, self.kind, self.whole = model, tokenizer, kind, whole
        self.program = program("mlx-lm", "mlx-lm")
        self.heartbeat = heartbeat

    def next_tokens(self, probes: Sequence[Probe]) -> Distributions:
        return Distributions(np.concatenate([logps for probe in probes for logps in self._chunks(probe)]))

    def _chunks(self, probe: Probe) -> Iterator[Float32]:
        """Log-probabilities `[k, vocabulary]` at the places of a row, which is read as mlx-lm reads a prompt: in
        chunks, with a cache of what was before."""
        import mlx.core as mx
        from mlx_lm.models.cache import make_prompt_cache

        cache, end = make_prompt_cache(self.model), int(probe.positions[-1]) + 1
        for start in range(0, end, CHUNK):
            self.heartbeat()
            logits = self.model(mx.array(probe.tokens[start : min(start + CHUNK, end)])[None], cache=cache)[0]
            mx.eval(logits)
            own = probe.positions[(probe.positions >= start) & (probe.positions < start + CHUNK)] - start
            if len(own):
                yield log_softmax(np.asarray(logits[mx.array(own)].astype(mx.float32)))

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
def open_folder(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[MlxModel]:
    """A whole model."""
    from mlx_lm.utils import load

    loaded, tokenizer, *_ = load(str(out))
    yield MlxModel(loaded, tokenizer, str(read_config(out).get("model_type")), heartbeat, whole=True)
