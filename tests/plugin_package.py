"""Packages as pip leaves them in a folder: a module and the metadata that names its entry points."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

RUN = "import sys; from ft.cli import main; sys.exit(main(sys.argv[1:]))"


def install(
    folder: Path, name: str, source: str, entry_points: Mapping[str, Mapping[str, str]], summary: str = ""
) -> None:
    """Put the module `name` with its entry points, by group, into a folder that Python's path will have."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (metadata / "METADATA").write_text(about + (f"Summary: {summary}\n" if summary else ""))
    groups = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in entry_points.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(groups))


def ft(packages: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ft` where that folder is on Python's path."""
    path = os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "FT_HOME": str(home)}
    command = [sys.executable, "-P", "-c", RUN, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
