"""What the processes of other engines' servers have in common: settings on stdin, and an end with who started them."""

import json
import os
import sys
import threading
from typing import Any


def settings() -> dict[str, Any]:
    """The line of settings on stdin. From now on this process ends when stdin does: whoever holds it is gone."""
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, name="parent", daemon=True).start()
    return asked


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)
