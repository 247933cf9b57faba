"""Python source as data, read by one thread at a time.

CPython before 3.11.8 counts the depth of a tree that it makes for all threads together: where two of them parse
simultaneously, one may get a SystemError (https://github.com/python/cpython/issues/106905).
"""

import ast
import threading
from typing import Any

_one = threading.Lock()


def parse(source: str) -> ast.Module:
    """`ast.parse`. Raises SyntaxError."""
    with _one:
        return ast.parse(source)


def literal(source: str) -> Any:
    """`ast.literal_eval`. Raises ValueError or SyntaxError."""
    with _one:
        return ast.literal_eval(source)
