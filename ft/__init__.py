"""Fine-tune language models on your own machine."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ft import data
    from ft.api import Run, open_run, plan, train
    from ft.finished import Evaluation, evaluate, export

__version__ = "0.1.0"
__all__ = ["Evaluation", "Run", "__version__", "data", "evaluate", "export", "open_run", "plan", "train"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used, so that `import ft` and `ft --help` cost nothing."""
    if name == "data":
        return importlib.import_module("ft.data")
    if name in ("Evaluation", "evaluate", "export"):
        return getattr(importlib.import_module("ft.finished"), name)
    if name in __all__:
        return getattr(importlib.import_module("ft.api"), name)
    raise AttributeError(f"module 'ft' has no attribute {name!r}")
