"""The entry of `ft`: runs a command, or the app, and turns every error into a message and an exit code."""

import contextlib
import gc
import os
import sys
import traceback

from engine import offline
from engine.errors import ConfigError, FtError
from engine.redaction import redacted
from ft.console import safe_output, show_error
from ft.crash_report import BUG, keep_traceback

INTERRUPTED = 130
OFFLINE = "--offline"


def main(argv: list[str] | None = None) -> int:
    """Run `ft` and return its exit code; an error's is its own (see docs/commands.md)."""
    with safe_output():
        return _guarded(argv)


def _guarded(argv: list[str] | None) -> int:
    try:
        return _exit_code(argv)
    except BrokenPipeError:
        return _quiet()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # the last stop before the person: each becomes a message
        if os.environ.get("FT_DEBUG"):
            sys.stderr.write(redacted(traceback.format_exc()))
        return _report(error)


def _exit_code(argv: list[str] | None) -> int:
    if not (sys.argv[1:] if argv is None else argv) and sys.stdin.isatty() and sys.stdout.isatty():
        gc.disable()  # until the first picture stands: it would only look at what is imported
        from ft.app import open_app  # typer, which is not needed for it, would take a while too

        return open_app()
    from ft.command_table import run

    argv = _without_offline(sys.argv[1:] if argv is None else argv)
    _refuse_other_encodings(argv)
    try:
        run(argv)
    except SystemExit as end:
        code = end.code
    else:
        code = 0
    sys.stdout.flush()  # here, so that a reader that has gone is noticed here
    return code if isinstance(code, int) else 0 if code is None else 1


def _without_offline(arguments: list[str]) -> list[str]:
    """The arguments without `--offline`, which may stand anywhere and is obeyed here, before anything is imported."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if OFFLINE not in arguments[:end]:
        return arguments
    offline.forbid()
    return [one for one in arguments[:end] if one != OFFLINE] + arguments[end:]


def _refuse_other_encodings(arguments: list[str]) -> None:
    """Recipes, events and JSON are UTF-8; a name that is not would be lost or changed on its way into them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            message = f"{argument}: names that are not UTF-8 cannot be used."
            raise ConfigError(message, "Rename the file or folder.") from None


def _quiet() -> int:
    """The reader of our output has gone (`ft runs list | head`): end quietly."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _report(error: Exception) -> int:
    if isinstance(error, FtError):
        show_error(error)
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        from engine.storage.disk_errors import explained

        return _report(explained(error))
    show_error(FtError(f"This is a bug in ft: {type(error).__name__}: {error}", keep_traceback(error)))
    return BUG


if __name__ == "__main__":
    sys.exit(main())
