"""Keeping torch out of a process in which MLX trains.

mlx-lm takes its tokenizers from transformers, which imports torch wherever that is installed: 270 MB for nothing.
"""

import sys
from types import ModuleType
from typing import cast


def without_torch() -> None:
    """Let this process find no torch from here on, as if it were not installed; too late where it is imported.

    For a process of its own only: transformers remembers what it did not find.
    """
    if "torch" not in sys.modules:
        sys.modules["torch"] = cast(ModuleType, None)  # Python's own sign that there is no such module
