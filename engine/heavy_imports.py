"""Importing the libraries of models in less time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python's garbage collector from running while a large library is imported.

    torch, transformers and PEFT make very many objects, all of which stay. The collector would walk through them again
    and again as they come in, and find nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
