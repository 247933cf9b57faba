"""Files of Google Drive by their id, fetched once through `gdown`, which is imported only here."""

import re
from pathlib import Path
from typing import Any

from engine import offline
from engine.data.sources import file_cache
from engine.data.sources.layout import is_inside
from engine.errors import DataError, MachineError

PREFIX = "gdrive:"
ID = re.compile(r"[A-Za-z0-9_-]{10,}")
OPTIONS: dict[str, Any] = {"quiet": True, "use_cookies": False, "resume": True}
"""No cookies: a file that only somebody's browser may see does not belong in a recipe. `resume` continues a part."""


def fetch(source: str) -> tuple[Path, str]:
    """The file of `gdrive:ID` and its name there. Drive does not say when a file changes: it is fetched once.

    Raises `DataError` where Drive does not give it, MachineError where gdown is not installed or the disk is full.
    """
    wanted = source.removeprefix(PREFIX)
    if not ID.fullmatch(wanted):
        raise DataError(
            f"{source}: is not the id of a Google Drive file", "The id is the long word in the file's link."
        )
    key = file_cache.key_of("drive", wanted)
    if (found := cached_path(source)) is None:
        if offline.everywhere():
            raise DataError(
                f"{source}: {offline.variable()} forbids to fetch it, and it is not cached here",
                "Fetch it once with a network, or give a file.",
            )
        place = file_cache.folder() / f"{key}.drive"
        with file_cache.writing(place):
            file_cache.check_free_space(place.parent)
            place.mkdir(exist_ok=True)
            path = Path(_download(wanted, source, place))
        if path.parent != place or not is_inside(path.name):
            raise DataError(f"{source}: has a name that leads elsewhere: {path.name}", "Rename it on Drive.")
        found = path, path.name
    file_cache.write_note(key, {"file": found[1]})
    return found


def cached_path(source: str) -> tuple[Path, str] | None:
    """Path and name of the file if it is cached."""
    key = file_cache.key_of("drive", source.removeprefix(PREFIX))
    name = file_cache.read_note(key).get("file")
    path = file_cache.folder() / f"{key}.drive" / str(name)
    return (path, str(name)) if name and path.is_file() else None


def _download(wanted: str, source: str, place: Path) -> str:
    try:
        import gdown
        from gdown.exceptions import DownloadError
    except ImportError as error:
        raise MachineError(
            f"{source}: reading Google Drive needs the package gdown.",
            "Install it with: pip install 'ft-studio[gdrive]'",
        ) from error
    import requests

    try:
        found = gdown.download(id=wanted, output=f"{place}/", **OPTIONS)
    except (DownloadError, requests.RequestException) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"{source}: Google Drive does not give it: {said}",
            "Share it with anyone who has the link, or download it yourself and name the file.",
        ) from error
    if not isinstance(found, str):
        raise DataError(f"{source}: Google Drive does not give it", "Check the id.")
    return found
