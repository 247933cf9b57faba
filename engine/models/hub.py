"""Models from the Hugging Face hub, kept in its own cache; what is cached is used without network."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine import secrets
from engine.errors import HubError, MachineError, ModelError
from engine.models.hub_client import http_errors
from engine.models.starter import Progress, need_space, silent, verify

if TYPE_CHECKING:
    from huggingface_hub.file_download import DryRunFileInfo

    from engine.models import transfer

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py", "README.md", "LICENSE*"]
WEIGHTS = "*.safetensors"
UNWANTED = [*(f"*/{wanted}" for wanted in WANTED if wanted != "*.jinja"), "consolidated*"]
"""Weights in subfolders are other formats of the same (onnx, original…); so is Mistral's `consolidated`.

Chat templates by name are in a subfolder."""

SHA256 = re.compile("[0-9a-f]{64}")
"""The etag of a large file is its checksum; that of a small one is not."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def download(repo: str, revision: str | None = None, progress: Progress = silent) -> Path:
    """The folder of a hub model, downloaded where it is not cached; its name is the commit.

    What was cut off, also by the end of the process, is taken up where it ended.
    Without network, what is cached is used.
    Raises HubError where the hub can't be reached or says no, ModelError where the repository has no
    safetensors weights, MachineError where the disk is full or the token's keyring is locked.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError

    ask: dict[str, Any] = {"revision": revision, "allow_patterns": WANTED, "ignore_patterns": UNWANTED}
    ask["token"] = secrets.get(secrets.HF_TOKEN)  # None is the client's own: `hf auth login`
    with explained(repo, revision):
        try:
            files = snapshot_download(repo, dry_run=True, tqdm_class=client_bar(repo, silent), **ask)
        except DryRunError as unreachable:
            try:
                return Path(snapshot_download(repo, local_files_only=True, **ask))
            except LocalEntryNotFoundError:
                raise (unreachable.__cause__ or unreachable) from None
        if not any(file.filename.endswith(".safetensors") for file in files):
            raise ModelError(
                f"{repo} has no safetensors weights.",
                "Choose a model with .safetensors files: pickled weights can run code when they are read. Where you "
                f"trust the author, this reads them once and keeps them as safetensors: ft models pull {repo} "
                "--allow-pickle",
            )
        missing = [file for file in files if file.will_download]
        total = sum(file.file_size or 0 for file in missing)
        need_space(cache(), total)
        without = {**ask, "ignore_patterns": [*UNWANTED, WEIGHTS]}
        bar = client_bar(repo, lambda note, done, _: progress(note, done, total))
        snapshot_download(repo, tqdm_class=bar, **without)
        weights = [file for file in missing if file.filename.endswith(".safetensors")]
        _fetch_weights(repo, weights, ask["token"], progress, total)
        return Path(snapshot_download(repo, tqdm_class=client_bar(repo, silent), **ask))


def _fetch_weights(
    repo: str, files: Sequence["DryRunFileInfo"], token: str | None, progress: Progress, total: int
) -> None:
    """Put weight files into the cache, several at a time, where the client finds them whole; `total` is of all files,
    in bytes.

    The client itself throws a cut file away, as of its release 1.20; weights are too large for that.
    """
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

    from engine.models import transfer

    before = total - sum(file.file_size or 0 for file in files)
    weights = [_wanted_blob(repo, file, token) for file in files]
    if weights:
        transfer.download_all(
            weights,
            lambda done: progress(f"downloading {repo}", before + done, total),
            build_hf_headers(token=token),
        )


def _wanted_blob(repo: str, file: "DryRunFileInfo", token: str | None) -> "transfer.Wanted":
    """A weight file, and its place among the cache's blobs, which is named by its checksum."""
    blobs = Path(file.local_path).parents[2] / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    return wanted_file(repo, file.filename, file.commit_hash, token, blobs)


def wanted_file(
    repo: str, name: str, revision: str | None, token: str | None, place: Path
) -> "transfer.Wanted":
    """A large file to fetch to `place`; in a folder, under its checksum. That is compared once the file is there.

    Raises the client's errors, HubError where the hub does not say which file it has.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    from engine.models import transfer

    url = hf_hub_url(repo, name, revision=revision)
    etag = get_hf_file_metadata(url, token=token).etag
    if etag is None:
        raise HubError(f"The hub does not say which {name} of {repo} it has.", "Try later.")

    def compare(path: Path) -> None:
        if SHA256.fullmatch(etag):
            try:
                verify(path, etag)
            except ModelError:
                path.unlink()  # damaged on the way; the next try starts over
                raise

    return transfer.Wanted(url, place / etag if place.is_dir() else place, compare)


def wanted(names: Iterable[str]) -> list[str]:
    """Those of a repository's files that are fetched."""
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined, unused-ignore]

    return list(filter_repo_objects(names, allow_patterns=WANTED, ignore_patterns=UNWANTED))


def cached(repo: str, revision: str | None = None) -> Path | None:
    """The folder of a model that was downloaded before; None where there is none. The hub is not asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                local_files_only=True,
                allow_patterns=WANTED,
                ignore_patterns=UNWANTED,
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def cache_place() -> Path:
    """The hub's cache folder, which may not be there yet, as its client finds it; the client is not loaded."""
    if named := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{caches}/huggingface").expanduser() / "hub"


def cache() -> Path:
    """The hub's cache folder (HF_HUB_CACHE, HF_HOME), made where it is missing."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def explained(repo: str, revision: str | None, kind: Literal["model", "dataset"] = "model") -> Iterator[None]:
    """Turn the client's errors into ours. Order matters: most of them are OSErrors as well."""
    from huggingface_hub import errors

    refused: tuple[type[Any], ...] = (errors.HfHubHTTPError, *http_errors("HTTPStatusError"))
    unreachable: tuple[type[Any], ...] = (
        *http_errors("TransportError"),
        errors.LocalEntryNotFoundError,
        errors.DryRunError,
    )
    local = "`starter` or a local folder" if kind == "model" else "a local file or folder"
    token = "set a token with `ft secrets set HF_TOKEN`, or log in with `hf auth login`"
    try:
        yield
    except errors.GatedRepoError as error:
        page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repo}"
        raise HubError(f"{repo} is gated.", f"Accept its terms at {page}, then {token}.") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{repo} has no revision {revision}.", "Give a branch, a tag or a commit of it."
        ) from error
    except errors.RepositoryNotFoundError as error:
        message = f"There is no {kind} {repo} on the hub, or it is private."
        raise HubError(message, f"Check the spelling (OWNER/NAME); for a private one {token}.") from error
    except errors.HFValidationError as error:
        raise HubError(f"{repo} is not a hub id.", "A hub id is OWNER/NAME.") from error
    except errors.OfflineModeIsEnabled as error:
        message = f"{repo} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it."
        raise HubError(message, f"Unset HF_HUB_OFFLINE, or use {local}.", unreachable=True) from error
    except refused as error:
        status = error.response.status_code
        hints = {
            429: f"It limits how often one may ask. Try later; with a token one may ask more: {token}.",
            401: f"To show who asks, {token}.",
            403: f"To show who asks, {token}.",
        }
        raise HubError(
            f"The hub answers {status} for {repo}.", hints.get(status, "Try later: what has come is kept.")
        ) from error
    except unreachable as error:
        raise HubError(
            f"The hub cannot be reached for {repo}: {error}.",
            f"Check the network and run again: complete files are kept. Without network, use {local}.",
            unreachable=True,
        ) from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise MachineError(
                f"Cannot write {repo} to {error.filename or cache()}: {error.strerror}.",
                "Free space or change the permissions, or set HF_HOME to a folder you can write to.",
            ) from error
        raise HubError(
            f"{repo} was not downloaded completely: {error}", "Run the same command again."
        ) from error


def client_bar(repo: str, progress: Progress) -> type:
    """A progress bar class for the hub client that draws nothing and tells `progress` the bytes."""
    from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

    class Bar(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
        def __init__(self, *args: Any, **options: Any) -> None:
            self.counts_bytes = options.get("unit") == "B"
            super().__init__(*args, **options)

        def display(self, *args: Any, **options: Any) -> None:
            """Draw nothing."""

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.counts_bytes and self.total:
                progress(f"downloading {repo}", int(self.n), int(self.total))
            return drawn

    return Bar
