"""Python's cycle collector, held back while a million small objects without cycles are made.

By default it visits the young objects whenever 700 more were made than freed. Rows, their texts and their tokens come
by the thousand and go by reference counts alone: visiting them takes time and frees nothing.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 20_000
"""New objects before a collection: a chunk of rows and its tokens."""
_lock = threading.Lock()
_inside = 0
_before = gc.get_threshold()


@contextmanager
def held_back() -> Iterator[None]:
    """Collect rarely for the length of the block; threads may be in it simultaneously."""
    global _inside, _before
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = gc.get_threshold()
            gc.set_threshold(max(OBJECTS, _before[0]) if _before[0] else 0, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                gc.set_threshold(*_before)
