"""Constants that the memory models of ft's backends share."""

LOGIT_BYTES = 128 << 20
"""A chunk of logits in fp32; the loss makes them chunk by chunk, in the compute format."""
UNEVEN = 1.5
"""A micro-batch may train more of its tokens than the average one does."""
GATE_TEMPORARIES = 6
"""Tensors of the MLP's inner width that its backward pass holds together."""
