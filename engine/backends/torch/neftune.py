"""NEFTune: uniform noise on the embeddings of a training step (Jain et al. 2023, arXiv:2310.05914)."""

from typing import Any

import torch
from torch import Tensor

from engine.backends.layout import Rows


class Neftune:
    """Adds noise to what the embedding gives, while gradients are made.

    The noise of a token is uniform in [-1, 1] times alpha / sqrt(length x width), where the length is that of the
    token's own sequence, packed or padded. It is drawn from torch's generator, which is seeded for every micro-batch.
    """

    def __init__(self, embedding: Any, alpha: float) -> None:
        self.alpha = alpha
        self.scales: Tensor | None = None
        embedding.register_forward_hook(self._add)

    def lay(self, rows: Rows, lengths: Tensor) -> None:
        """Take the layout of the next forward pass; `lengths` int64 `[sequences]` are those of the batch."""
        if rows.lengths is None:
            found = lengths.unsqueeze(1).expand(rows.ids.shape)
        else:
            prefixes = rows.prefixes or [0] * len(rows.lengths)
            wholes = [own + prefix for own, prefix in zip(rows.lengths, prefixes, strict=True)]
            found = torch.tensor(wholes).repeat_interleave(torch.tensor(rows.lengths)).unsqueeze(0)
        self.scales = found.float().rsqrt().unsqueeze(-1)

    def _add(self, module: Any, inputs: Any, output: Tensor) -> Tensor:
        if not (module.training and torch.is_grad_enabled()) or self.scales is None:
            return output
        scale = self.scales.to(output.device) * self.alpha / output.shape[-1] ** 0.5
        return output + (torch.empty_like(output).uniform_(-1, 1) * scale).to(output.dtype)
