"""An architecture that this package has trained: no plan warns of it."""

from engine.models.architectures import Architecture

HELIUM = Architecture("helium", ("HeliumForCausalLM",), ("q_proj", "v_proj"), ("peft",))
