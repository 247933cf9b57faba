"""Models whose weights are pickled: fetched where a person allows it, and kept as safetensors.

A pickle is a program. So it is read once, with torch's `weights_only`, in a process that has no tokens, and what comes
of it is a folder among the models that every run reads as any other. No run loads a pickle.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine import paths, secrets
from engine.errors import MachineError, ModelError
from engine.models import hub, local, transfer
from engine.models.starter import Progress, need_space, writable

PICKLES = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
READER = "engine.backends.torch.unpickle"
REFUSED = 3
"""Exit code of the reader for files that are no weights alone; the reason is on its stdout."""
LOOK_S = 0.2
SMALL = [name for name in hub.WANTED if name != hub.WEIGHTS]
CONVERTING = "reading pickled weights"


def pull(source: str, revision: str | None, progress: Progress) -> Path:
    """Folder of a model, by hub id or of a local folder, with its pickled weights as safetensors.

    Raises HubError, ModelError where there are none or they hold more than weights, MachineError where the disk is full
    or the reader was killed; what `progress` raises ends it. What was fetched stays for the next try.
    """
    name = Path(source).expanduser().absolute().name if Path(source).expanduser().is_dir() else source
    name = name.rpartition("/")[2]
    folder, making = paths.models() / name, paths.models() / f".{name}.pulling"
    with writable(paths.models()), FileLock(paths.models() / f".{name}.lock"):
        if folder.exists():
            local.check(folder)
            return folder
        making.mkdir(exist_ok=True)
        if Path(source).expanduser().is_dir():
            _copy(Path(source).expanduser(), making)
        else:
            _fetch(source, revision, making, progress)
        _convert(making, progress)
        for pickled in _pickles([path.name for path in making.iterdir()]):
            (making / pickled).unlink()
        shutil.rmtree(making / ".cache", ignore_errors=True)  # the client's own records
        local.check(making)
        making.rename(folder)
    return folder


def has_pickles(folder: Path) -> bool:
    """True for a local folder whose weights are pickled, and that has no safetensors."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return bool(_pickles(names)) and not any(name.endswith(".safetensors") for name in names)


def _fetch(repo: str, revision: str | None, making: Path, progress: Progress) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

    token = secrets.get(secrets.HF_TOKEN)
    with hub.explained(repo, revision):
        about = HfApi().model_info(repo, revision=revision, files_metadata=True, token=token)
        there = {file.rfilename: file for file in about.siblings or ()}
        if not (names := _pickles(list(there))):
            raise ModelError(
                f"{repo} has no pickled weights (pytorch_model.bin).", "Leave --allow-pickle out."
            )
        total = sum(there[name].size or 0 for name in names)
        need_space(paths.models(), 2 * total)  # what is fetched, and what is written of it
        ask: dict[str, Any] = {"revision": about.sha, "token": token, "local_dir": making}
        snapshot_download(
            repo,
            allow_patterns=SMALL,
            ignore_patterns=[*hub.UNWANTED, "*.bin.index.json"],
            tqdm_class=hub.client_bar(repo, lambda *_: None),
            **ask,
        )
        files = [hub.wanted_file(repo, str(about.sha), there[name], token, making / name) for name in names]
        note = f"downloading {repo}"
        transfer.download_all(files, lambda done: progress(note, done, total), build_hf_headers(token=token))


def _copy(source: Path, making: Path) -> None:
    names = _pickles([path.name for path in source.iterdir()])
    if not names:
        raise ModelError(f"{source} has no pickled weights (pytorch_model.bin).", "Leave --allow-pickle out.")
    local.require_regular_files(source)
    need_space(paths.models(), 2 * sum((source / name).stat().st_size for name in names))
    for path in source.iterdir():
        if path.is_file() and (path.name in names or any(path.match(pattern) for pattern in SMALL)):
            shutil.copyfile(path, making / path.name)


def _convert(making: Path, progress: Progress) -> None:
    """Have the reader write safetensors beside the pickles."""
    reader = subprocess.Popen(
        [sys.executable, "-P", "-m", READER, str(making)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=secrets.without(),
    )
    try:
        while True:
            progress(CONVERTING, 0, 1)
            try:
                told, _ = reader.communicate(timeout=LOOK_S)
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        reader.kill()
        reader.wait()
    if reader.returncode == REFUSED:
        raise ModelError(
            told.strip() or "The pickled weights were refused.", "Use a model with safetensors weights."
        )
    if reader.returncode:
        last = [line for line in told.splitlines() if line.strip()][-1:]
        raise MachineError(
            f"The pickled weights could not be read ({reader.returncode}): {''.join(last)}",
            "Free memory or space on the disk, and run it again: what was fetched is kept.",
        )
    progress(CONVERTING, 1, 1)


def _pickles(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if PICKLES.fullmatch(name))
