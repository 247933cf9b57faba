"""One file over HTTP, taken up where an earlier try ended, also after the process was killed."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
from filelock import FileLock

ATTEMPTS = 4


def download(
    url: str,
    target: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    headers: Mapping[str, str] | None = None,
    check_step: Callable[[httpx.Request], None] = lambda request: None,
) -> None:
    """Download `url` to `target`, which appears only when it is whole; `progress` gets bytes done and in all.

    A part left by an earlier call is continued; a cut connection is taken up again a few times. A second
    process that wants the same file waits for the first. `check_step` sees every request before it is sent, also
    where a server sends us on, and may raise. From https:// nobody is followed to http://. Raises httpx.HTTPError,
    OSError.
    """
    part = target.with_name(target.name + ".part")
    with FileLock(target.with_name(target.name + ".part.lock")):
        if target.exists():
            return
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _fetch_rest(url, part, progress, headers or {}, check_step)
                break
            except httpx.HTTPStatusError:
                part.unlink(missing_ok=True)
                raise
            except httpx.HTTPError:
                if attempt == ATTEMPTS:
                    raise
        part.replace(target)
    Path(f"{part}.lock").unlink(missing_ok=True)


def _fetch_rest(
    url: str,
    part: Path,
    progress: Callable[[int, int], None],
    headers: Mapping[str, str],
    check_step: Callable[[httpx.Request], None],
) -> None:
    have = part.stat().st_size if part.exists() else 0
    # Compressed on the way, a part's length would not be the place to resume from.
    ask = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})

    def stay_safe(request: httpx.Request) -> None:
        check_step(request)
        if url.startswith("https:") and request.url.scheme != "https":
            raise httpx.UnsupportedProtocol("the server leads from https:// to http://", request=request)

    with (
        httpx.Client(follow_redirects=True, timeout=30, event_hooks={"request": [stay_safe]}) as client,
        client.stream("GET", url, headers=ask) as answer,
    ):
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it was there
        answer.raise_for_status()
        continued = answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if continued else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if continued else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
