"""The ways to train a model that are compared with each other, and the usual length of their rows."""

LORA, QLORA, FULL = "LoRA", "QLoRA", "full"
METHODS = (LORA, QLORA, FULL)
TYPICAL_TOKENS = 512
"""Tokens of a row of the typical load."""
