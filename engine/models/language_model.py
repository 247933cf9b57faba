"""Parts of a model that read and write text, found by the names that every backend and the weight files share."""

import re
from collections.abc import Iterable

OWN = ("language_model", "lm_head")
"""Name of the language model in multimodal models, and of the parts that they may have beside it."""
TOWER = re.compile(r"(^|_)(vision|visual|audio|image|img|speech|multi_modal)(_|$)")
"""A part that sees or hears, or that leads from there to the text: `vision_tower`, `visual`, `embed_audio`…"""
ROUTERS = ("gate", "router")
"""Router that chooses a token's experts: a bare matrix in transformers, not a layer."""
WEIGHING = (*ROUTERS, "shared_expert_gate")
"""That, and what says how much the expert of all tokens counts."""


def of_language_model(names: Iterable[str]) -> list[str]:
    """Those of the dotted names of a model's parts, or of its weights, that lie in its language model."""
    parts = [(name, name.split(".")) for name in names]
    if any(OWN[0] in path for _, path in parts):
        return [name for name, path in parts if any(own in path for own in OWN)]
    return [name for name, path in parts if not any(TOWER.search(part) for part in path)]
