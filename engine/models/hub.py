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
from engine.models.starter import Progress, damaged, need_space, silent

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

    from engine.models import transfer

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py", "README.md", "LICENSE*"]
WEIGHTS = "*.safetensors"
UNWANTED = [*(f"*/{wanted}" for wanted in WANTED if wanted != "*.jinja"), "consolidated*"]
"""Weights in subfolders are other formats of the same (onnx, original…); so is Mistral's `consolidated`.

Chat templates by name are in a subfolder."""

SHA256 = re.compile("[0-9a-f]{64}")
"""The etag of a large file is its checksum; that of a small one is not."""
SET_TOKEN = "set a token with `ft secrets set HF_TOKEN`, or log in with `hf auth login`"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def download(repo: str, revision: str | None = None, progress: Progress = silent) -> Path:
    """The folder of a hub model, downloaded where it is not cached; its name is the commit.

    What was cut off, also by the end of the process, is taken up where it ended.
    Without network, what is cached is used.
    Raises HubError where the hub can't be reached or says no, ModelError where the repository has no
    safetensors weights, MachineError where the disk is full or the token's keyring is locked.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RevisionNotFoundError

    token = secrets.get(secrets.HF_TOKEN)  # None is the client's own: `hf auth login`
    ask: dict[str, Any] = {"allow_patterns": WANTED, "token": token}
    with explained(repo, revision):
        try:
            about = HfApi().model_info(repo, revision=revision, files_metadata=True, token=token)
        except RevisionNotFoundError:
            raise
        except Exception:  # no network, a hub that is down, a token that has gone
            if (here := cached(repo, revision)) is not None:
                return here
            raise
        _refuse_pickled(repo, about)
        missing = _missing(repo, about)
        total = sum(file.size or 0 for file in missing)
        need_space(cache(), total)
        bar = client_bar(repo, lambda note, done, _: progress(note, done, total))
        without = [*UNWANTED, WEIGHTS]
        snapshot_download(repo, revision=revision, ignore_patterns=without, tqdm_class=bar, **ask)
        weights = [file for file in missing if file.rfilename.endswith(".safetensors")]
        _fetch_weights(repo, str(about.sha), weights, token, progress, total)
        # The client finds the weights under their checksums, and puts their names there.
        silently = client_bar(repo, silent)
        folder = snapshot_download(
            repo, revision=about.sha, ignore_patterns=UNWANTED, tqdm_class=silently, **ask
        )
        return Path(folder)


def _refuse_pickled(repo: str, about: "ModelInfo") -> None:
    if not any(name.endswith(".safetensors") for name in wanted(_names(about))):
        raise ModelError(
            f"{repo} has no safetensors weights.",
            "Choose a model with .safetensors files: pickled weights can run code when they are read. Where you "
            f"trust the author, this reads them once and keeps them as safetensors: ft models pull {repo} "
            "--allow-pickle",
        )


def _names(about: "ModelInfo") -> list[str]:
    return [file.rfilename for file in about.siblings or ()]


def _missing(repo: str, about: "ModelInfo") -> list["RepoSibling"]:
    """Those of a revision's files that are wanted, and not in the cache."""
    from huggingface_hub import try_to_load_from_cache

    names = set(wanted(_names(about)))
    return [
        file
        for file in about.siblings or ()
        if file.rfilename in names
        and not isinstance(try_to_load_from_cache(repo, file.rfilename, revision=about.sha), str)
    ]


def _fetch_weights(
    repo: str,
    commit: str,
    files: Sequence["RepoSibling"],
    token: str | None,
    progress: Progress,
    total: int,
) -> None:
    """Put weight files into the cache, several at a time, where the client finds them whole; `total` is of all files,
    in bytes.

    The client itself throws a cut file away, as of its release 1.20; weights are too large for that.
    """
    if not files:
        return
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

    from engine.models import transfer

    blobs = cache() / repo_folder_name(repo_id=repo, repo_type="model") / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    before = total - sum(file.size or 0 for file in files)
    transfer.download_all(
        [wanted_file(repo, commit, file, token, blobs) for file in files],
        lambda done: progress(f"downloading {repo}", before + done, total),
        build_hf_headers(token=token),
    )


def wanted_file(
    repo: str, commit: str, file: "RepoSibling", token: str | None, place: Path
) -> "transfer.Wanted":
    """A large file to fetch to `place`; in a folder, under its checksum, as the client's cache names files. That is
    compared once the file is there.

    Raises the client's errors, HubError where the hub does not say which file it has.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    from engine.models import transfer

    url = hf_hub_url(repo, file.rfilename, revision=commit)
    # sha256 of a large file, git's hash of a small one; listings of some mirrors have neither.
    expected = (file.lfs.sha256 if file.lfs else file.blob_id) or get_hf_file_metadata(url, token=token).etag
    if not expected:
        raise HubError(f"The hub does not say which {file.rfilename} of {repo} it has.", "Try later.")

    def compare(path: Path, found: str) -> None:
        if SHA256.fullmatch(expected) and found != expected:
            path.unlink()  # damaged on the way; the next try starts over
            raise damaged(path, found, expected)

    return transfer.Wanted(url, place / expected if place.is_dir() else place, compare)


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
    )
    local = "`starter` or a local folder" if kind == "model" else "a local file or folder"
    token = SET_TOKEN
    try:
        yield
    except errors.GatedRepoError as error:
        raise gated(repo, kind) from error
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


def refuse_gated(repo: str) -> None:
    """Raise the HubError of a gated model where there is no token to fetch it with; the hub is not asked."""
    from huggingface_hub import get_token

    if secrets.state_of(secrets.HF_TOKEN).place == "none" and get_token() is None:
        raise gated(repo)


def gated(repo: str, kind: Literal["model", "dataset"] = "model") -> HubError:
    """The error of a repository whose terms have to be accepted first, with how to do that."""
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repo}"
    return HubError(f"{repo} is gated.", f"Accept its terms at {page}, then {SET_TOKEN}.")


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
