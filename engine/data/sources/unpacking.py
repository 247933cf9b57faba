"""Background unpacking of large compressed files: their first rows can be seen immediately."""

from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from engine.data.sources.archives import beginning, takes_time, unpacked_skipping
from engine.errors import FtError


@dataclass(frozen=True)
class _Packed:
    """A compressed file and how it is read."""

    path: Path
    name: str
    packed: str
    kind: str


class _Job:
    """Unpacks a file in a thread of its own."""

    def __init__(self, file: _Packed) -> None:
        self._file = file
        self.share = 0.0
        """Share of the compressed file that has been read, 0 to 1."""
        self.error: FtError | OSError | None = None
        # A daemon: what an ending process leaves unfinished is made again by the next one.
        Thread(target=self._run, name=f"unpacking {file.name}", daemon=True).start()

    def _run(self) -> None:
        file = self._file
        try:
            unpacked_skipping(file.path, file.name, file.packed, file.kind, self._tell)
        except (FtError, OSError) as error:
            self.error = error

    def _tell(self, share: float) -> None:
        self.share = share


class Unpacking:
    """Plain files of compressed ones: the whole, or the first rows while it is unpacked. Any thread may call."""

    def __init__(self) -> None:
        self._beginnings: dict[Path, _Packed] = {}
        self._jobs: dict[Path, _Job] = {}
        """By the plain file of the first rows, as above."""
        self._lock = Lock()

    def __call__(self, path: Path, name: str, packed: str, kind: str) -> Path:
        """Plain file of what is unpacked. Raises what unpacking the whole has raised, and as `unpacked` does."""
        if not takes_time(path, kind):
            return unpacked_skipping(path, name, packed, kind)
        plain = beginning(path, name, packed, kind)
        with self._lock:
            self._beginnings[plain] = _Packed(path, name, packed, kind)
            job = self._jobs.get(plain)
        if job is not None and job.error is not None:
            raise job.error
        return plain

    def go_on(self, plain: Path) -> None:
        """Unpack the rest of a file of which only the first rows are there; nothing where all are."""
        with self._lock:
            if plain in self._beginnings and plain not in self._jobs:
                self._jobs[plain] = _Job(self._beginnings[plain])

    def share(self, plain: Path) -> float | None:
        """Share of a file that is unpacked, 0 to 1; None if all of it is."""
        with self._lock:
            job = self._jobs.get(plain)
            return (job.share if job else 0.0) if plain in self._beginnings else None
