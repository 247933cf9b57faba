"""Cache of prepared data on disk, keyed by everything that the tokens depend on.

An entry is a folder that is renamed into place when it is complete: of two processes that prepare the same data each
makes its own, and one of them stays; a process that is killed, or a disk that is full, leaves no entry.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path

from engine import addresses, paths, plugins
from engine.config.schema import TrainConfig
from engine.data import store
from engine.data.findings import Finding
from engine.data.token_spec import TokenSpec
from engine.data.types import Dataset, Question
from engine.errors import DataError
from engine.methods import Samples
from engine.storage.disk_errors import naming

KEPT_BYTES = 20_000_000_000
"""Most bytes of all entries; beyond it the least recently used are removed."""
LEFTOVER_S = 24 * 3600
"""Age from which unfinished entries, left by killed processes, are removed."""
RACY_S = 2.0
"""Age up to which a file may change again within the same tick of its clock, so its digest is not kept."""
ABOUT, TRAIN, VALIDATION = "about.json", "train", "validation"


class Inputs:
    """Files that tokens are made from, and the cache key of the result."""

    def __init__(
        self,
        config: TrainConfig,
        model_dir: Path,
        files: Sequence[Path],
        linted: bool,
        day: date | None,
    ) -> None:
        self._config, self._linted, self._day = config, linted, day
        self._spec = TokenSpec.of(config)
        self._beside = self._spec.files(model_dir)
        self._files = [*files, *(path for path in self._beside if path.is_file())]
        self._stamps = [_stamp(path) for path in self._files]

    @property
    def unread(self) -> int:
        """Bytes to read before the key is known."""
        return sum(path.stat().st_size for path in self._files if _known_digest(path) is None)

    @cached_property
    def key(self) -> str:
        """Cache key of the tokens. Reads files that were not read before."""
        config = self._config
        settings = {
            "code": _code(),
            "linted": self._linted,
            "brought": [
                f"{entry.value} {entry.dist.version if entry.dist else ''}"
                for group in (plugins.FORMATS, plugins.TEMPLATES)
                for entry in plugins.installed(group).values()
            ],
            "data": addresses.without_secrets(config.data.model_dump(mode="json"))[0],
            "tokens": asdict(self._spec) | {"model": "", "revision": ""},  # its files say more than its name
            "seed": config.seed,
            "questions": config.evaluation.max_questions,
            "files": [[path.name, _digest(path)] for path in self._files],
            "day": str(self._day or date.today()) if any(map(_writes_the_date, self._beside)) else "",
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]

    def check(self) -> None:
        """Raise `DataError` if a file has changed since the key was made."""
        for path, stamp in zip(self._files, self._stamps, strict=True):
            if not path.is_file() or _stamp(path) != stamp:
                raise DataError(
                    f"{path}: changed while it was read", "Start again when nothing writes to it."
                )


def find(key: str) -> Dataset | None:
    """Load the dataset under a key, its tokens mapped; None if there is none, or it is damaged."""
    folder = _folder() / key
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        signed = about.get("samples", "supervised") != "supervised"
        train, validation = (store.read(folder / name, signed=signed) for name in (TRAIN, VALIDATION))
        os.utime(folder)
    except (OSError, ValueError, RecursionError):
        return None
    return Dataset(
        train=train,
        validation=validation if len(validation) else None,
        questions=tuple(
            Question(tuple(ids), answer, where, tuple(calls), asked)
            for ids, answer, where, calls, asked in about["questions"]
        ),
        fingerprint=about["fingerprint"],
        notes=tuple(about["notes"]),
        findings=tuple(map(Finding.from_json, about["findings"])),
        folder=folder,
    )


@contextmanager
def making(key: str) -> Iterator[Path]:
    """Folder to make an entry in; it becomes the entry if the block succeeds, and is removed if not."""
    kept = _folder()
    folder = kept / f"{key}.{os.getpid()}.making"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with naming(folder):
            yield folder
        if find(key) is None:
            shutil.rmtree(kept / key, ignore_errors=True)  # damaged
            try:
                folder.replace(kept / key)
            except OSError:
                if find(key) is None:  # else another process was quicker
                    raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _clean(kept, key)


def describe(
    folder: Path,
    questions: Sequence[Question],
    fingerprint: str,
    notes: Sequence[str],
    findings: Sequence[Finding],
    samples: Samples = "supervised",
) -> None:
    """Write what an entry holds besides its tokens. Raises OSError."""
    about = {
        "samples": samples,
        "questions": [
            [each.prompt_ids, each.answer, each.where, each.calls, each.asked] for each in questions
        ],
        "fingerprint": fingerprint,
        "notes": list(notes),
        "findings": [asdict(finding) for finding in findings],
    }
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _folder() -> Path:
    return paths.cache() / "tokens"


def _clean(kept: Path, key: str) -> None:
    """Remove unfinished entries of killed processes, and the least recently used beyond `KEPT_BYTES`."""
    entries = []
    for folder in kept.iterdir():
        try:
            used = folder.stat().st_mtime
            size = sum(file.stat().st_size for file in folder.rglob("*"))
        except OSError:
            continue  # another process has just removed it
        if folder.suffix != ".making":
            entries.append((used, size, folder))
        elif time.time() - used > LEFTOVER_S:
            shutil.rmtree(folder, ignore_errors=True)
    total = 0
    for _, size, folder in sorted(entries, reverse=True):
        total += size
        if total > KEPT_BYTES and folder.name != key:
            shutil.rmtree(folder, ignore_errors=True)


@cache
def _code() -> str:
    """Digest of the code that turns rows into tokens: this package, and versions of its libraries."""
    digest = hashlib.sha256()
    for name in ("tokenizers", "jinja2", "numpy"):
        digest.update(f"{name} {version(name)} ".encode())
    own = Path(__file__).parent
    for file in sorted([*own.rglob("*.py"), *own.rglob("*.jinja")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    """sha256 of a file's content; remembered until the file changes, as reading a gigabyte takes seconds."""
    if (known := _known_digest(path)) is not None:
        return known
    stamp = _stamp(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - path.stat().st_mtime > RACY_S:
        _remember(_memo(path), json.dumps([*stamp, digest]))
    return digest


def _remember(memo: Path, text: str) -> None:
    """Write a note, whole or not at all. Raises OSError with its name."""
    with naming(memo):
        memo.parent.mkdir(parents=True, exist_ok=True)
        try:
            memo.write_text(text, encoding="utf-8")
        except OSError:
            memo.unlink(missing_ok=True)
            raise


def _known_digest(path: Path) -> str | None:
    """Remembered digest of a file; None if it was not read before, or has changed."""
    try:
        *known, digest = json.loads(_memo(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # or the note is torn: the file is read
    return str(digest) if known == _stamp(path) else None


def _memo(path: Path) -> Path:
    return paths.cache() / "digests" / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]


def _stamp(path: Path) -> list[int]:
    """Stamp that changes with a file's content: its size and its times, of which programs cannot set the second."""
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _writes_the_date(template: Path) -> bool:
    """Return True if a chat template, in a file of its own or in tokenizer_config.json, writes today's date."""
    named = template.suffix == ".jinja" or template.name == "tokenizer_config.json"
    return named and template.is_file() and b"strftime_now" in template.read_bytes()
