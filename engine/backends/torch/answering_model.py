"""What decoding needs of a torch model."""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from engine.backend_spec import Dtype
from engine.backends.base import Decoder
from engine.backends.torch.answering_layers import AnsweringForm
from engine.backends.torch.row_adapters import RowAdapters


class AnsweringModel(Protocol):
    """A model that answers, as `TorchModel` is one."""

    decoder_type: "Callable[[AnsweringModel, int], Decoder] | None"
    """Makes the decoder that keeps its rows apart, with so many slots; None until that is tried."""
    answering_form: AnsweringForm | None
    row_adapters: RowAdapters | None
    """Adapters of which each row has its own; None where all have the same."""
    network: Any
    compute: Dtype
    """Number format of the products."""
    device: torch.device
    prompted: bool
    """Virtual tokens stand in front."""
    plain_head: bool
    """Logits are the last layer's output times the head's matrix, and nothing more."""

    causal: Any
    """The language model, without PEFT's wrapper."""
    body: Any
    """Its layers, without the head."""
