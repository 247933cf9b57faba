"""What tells the releases of the hub's client apart: 1 raises the errors of httpx, 2 those of httpx2."""

from importlib import import_module
from typing import Any, Literal


def http_errors(name: Literal["HTTPError", "HTTPStatusError", "TransportError"]) -> tuple[type[Any], ...]:
    """The error of that name as httpx has it, which ft itself uses, and as the client's library does.

    The classes have the same names and attributes in both, and are not related.
    """
    import httpx
    from huggingface_hub import errors

    library = import_module(errors.HTTPError.__module__.partition(".")[0])  # type: ignore[attr-defined, unused-ignore]
    return (getattr(httpx, name), getattr(library, name))
