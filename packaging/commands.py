"""Write every command's real help into docs/commands.md, between its two marks.

python packaging/commands.py            rewrite the page
python packaging/commands.py --check    exit 1 where the page has fallen behind
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
BEGIN, END = "<!-- help: begin -->", "<!-- help: end -->"


def command_paths(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that can be typed, as (`runs`, `list`), in the order of the help."""
    context = typer.Context(group, info_name="ft")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if hasattr(command, "list_commands"):
            yield from command_paths(command, (*path, name))


def help_of(path: tuple[str, ...]) -> str:
    """Output of `ft PATH --help`."""
    from ft.command_table import app

    environment = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [*path, "--help"], prog_name="ft", env=environment)
    if result.exit_code:
        raise SystemExit(f"ft {' '.join(path)} --help ended with {result.exit_code}: {result.output}")
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def reference() -> str:
    """The generated part of the page."""
    from ft.command_table import app

    paths = [(), *command_paths(typer.main.get_command(app))]
    parts = [f"### `{' '.join(('ft', *path))}`\n\n```text\n{help_of(path)}\n```\n" for path in paths]
    return "\n".join(parts)


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    fresh = f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"
    if "--check" in sys.argv:
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
