"""Files over HTTP, taken up where an earlier try ended, also after the process was killed; several at a time.

A file's checksum is counted as it comes. Nothing is forced to the disk, which takes as long as the transfer: after a
power cut a file may be too short, and whoever uses one looks at its length, or at its checksum, first.
"""

import hashlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock

ATTEMPTS = 4
STREAMS = 4
"""Files that are fetched at a time: one connection rarely fills a line to a content network."""
LOOK_S = 0.1
"""Seconds between two looks at how far they are."""
LAST_S = 1.0
"""Seconds that a transfer has to write what has come, once nobody wants the rest."""
BUSY = (429, 503)
"""Answers of a server that wants to be asked later."""
LONGEST_WAIT_S = 60.0
"""Seconds that a busy server is waited for, whatever it says."""


class GivenUp(Exception):  # noqa: N818 - a request, not an error
    """Raised inside a transfer that nobody wants any more."""


@dataclass(frozen=True)
class Wanted:
    """One file: where it is, and where it goes.

    `done` is called with its place and its sha256 once it is there, and may raise.
    """

    url: str
    target: Path
    done: Callable[[Path, str], None] = lambda path, sha256: None


def download_all(
    files: Sequence[Wanted], progress: Callable[[int], None], headers: Mapping[str, str] | None = None
) -> None:
    """Download files, `STREAMS` at a time, each as `download` does.

    `progress` is called in this thread with the bytes that are there, ten times a second even where nothing comes; what
    it raises ends all transfers, and their parts stay. Raises what the first that failed has raised.
    """
    waiting: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
    for file in files:
        waiting.put(file)
    here: dict[Path, int] = {}
    failed: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                file = waiting.get_nowait()
            except queue.Empty:
                return

            def tell(done: int, _: int, target: Path = file.target) -> None:
                here[target] = done

            try:
                found = download(file.url, file.target, tell, headers, stop=stop)
                here[file.target] = file.target.stat().st_size
                file.done(file.target, found)
            except GivenUp:
                return
            except BaseException as error:
                failed.append(error)
                stop.set()

    # Daemons: one that waits for a silent server must not keep a process that was told to stop.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(STREAMS, len(files)))]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads) and not failed:
            progress(sum(here.values()))
            next(thread for thread in threads if thread.is_alive() or thread is threads[-1]).join(LOOK_S)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LAST_S)  # what is on its way is kept
    if failed:
        raise failed[0]
    progress(sum(here.values()))


def download(
    url: str,
    target: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    headers: Mapping[str, str] | None = None,
    check_step: Callable[[httpx.Request], None] = lambda request: None,
    stop: threading.Event | None = None,
) -> str:
    """Download `url` to `target`, which appears only when it is whole; `progress` gets bytes done and in all.

    Returns the file's sha256 in hexadecimal.

    A part left by an earlier call is continued; a cut connection is taken up again a few times, and a server that is
    busy is waited for as long as it says. A second process that wants the same file waits for the first. `check_step`
    sees every request before it is sent, also where a server sends us on, and may raise. From https:// nobody is
    followed to http://. Raises httpx.HTTPError, OSError, and GivenUp once `stop` is set.
    """
    stop = stop or threading.Event()
    part = target.with_name(target.name + ".part")
    with FileLock(target.with_name(target.name + ".part.lock")):
        if target.exists():
            return _sha256(target).hexdigest()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                found = _fetch_rest(url, part, progress, headers or {}, check_step, stop)
                break
            except httpx.HTTPStatusError as error:
                if error.response.is_client_error and error.response.status_code not in BUSY:
                    part.unlink(missing_ok=True)
                    raise
                if attempt == ATTEMPTS:
                    raise
                stop.wait(_pause(error.response, attempt))
            except httpx.HTTPError:
                if attempt == ATTEMPTS:
                    raise
        part.replace(target)
    Path(f"{part}.lock").unlink(missing_ok=True)
    return found


def _pause(answer: httpx.Response, attempt: int) -> float:
    """Seconds to wait before the next attempt: what the server asks for, else longer each time."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked) if asked.isdigit() else 2.0**attempt, LONGEST_WAIT_S)


def _fetch_rest(
    url: str,
    part: Path,
    progress: Callable[[int, int], None],
    headers: Mapping[str, str],
    check_step: Callable[[httpx.Request], None],
    stop: threading.Event,
) -> str:
    """Fetch what `part` lacks; returns the checksum of all of it."""
    have = part.stat().st_size if part.exists() else 0
    # Compressed on the way, a part's length would not be the place to resume from.
    ask = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})

    def stay_safe(request: httpx.Request) -> None:
        if stop.is_set():
            raise GivenUp
        check_step(request)
        if url.startswith("https:") and request.url.scheme != "https":
            raise httpx.UnsupportedProtocol("the server leads from https:// to http://", request=request)

    with (
        httpx.Client(follow_redirects=True, timeout=30, event_hooks={"request": [stay_safe]}) as client,
        client.stream("GET", url, headers=ask) as answer,
    ):
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _sha256(part).hexdigest()  # all of it was there
        answer.raise_for_status()
        continued = answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if continued else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        digest = _sha256(part) if continued else hashlib.sha256()
        # Unbuffered: what has come is kept however this process ends.
        with part.open("ab" if continued else "wb", buffering=0) as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
                if stop.is_set():
                    raise GivenUp
    return digest.hexdigest()


def _sha256(path: Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
