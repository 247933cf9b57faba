"""Report of a bug in ft: its exit code, and the file with its traceback."""

import traceback

from engine.redaction import redacted
from ft.console import say

BUG = 70
"""Exit code (EX_SOFTWARE): none of the codes that say what the person can do."""


def keep_traceback(error: BaseException) -> str:
    """Write the traceback to a file, and say where."""
    from engine import paths

    log = paths.cache() / "last-error.txt"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(redacted("".join(traceback.format_exception(error))), encoding="utf-8")
    except OSError as failure:
        say(f"(the traceback could not be written to {log}: {failure.strerror})")
        return "FT_DEBUG=1 shows the traceback. Please report it."
    return f"The traceback is in {log}; FT_DEBUG=1 shows it here. Please report it."
