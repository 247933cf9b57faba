"""Datasets of the hub that come as a Python script, or in files that are not rows: what to do about them.

No code of a dataset is ever run. The hub itself converts many of them to Parquet, in a revision of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.data.readers.registry import KNOWN
from engine.data.sources.layout import said_of
from engine.errors import DataError
from engine.models.hub import explained

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PARQUET = "refs/convert/parquet"


def nothing_to_read(api: "HfApi", repo: str, names: Sequence[str]) -> DataError:
    """Error for a dataset without files of rows. Raises HubError where the hub cannot be reached."""
    script = _script(repo, names)
    what = f"is a script, {script}, and no code of a dataset is run" if script else said_of(names)
    if _is_converted(api, repo):
        return DataError(f"{repo}: {what}", f"The hub has its rows as Parquet: add `revision: {PARQUET}`.")
    if script:
        hint = (
            "The hub has no Parquet of it. Ask its author for one, or convert it where you trust the script."
        )
        return DataError(f"{repo}: {what}", hint)
    return DataError(f"{repo}: {what}", f"Files that are read end in {KNOWN}.")


def script_note(api: "HfApi", repo: str, names: Sequence[str]) -> str:
    """Note on a dataset that has a script beside files of rows; empty if it has none."""
    script = _script(repo, names)
    if not script:
        return ""
    note = f"{repo}: its script {script} is not run; its files are read as they are"
    return (
        f"{note}. `revision: {PARQUET}` has the rows that the script makes"
        if _is_converted(api, repo)
        else note
    )


def _script(repo: str, names: Sequence[str]) -> str:
    script = f"{repo.rpartition('/')[2]}.py"
    return script if script in names else ""


def _is_converted(api: "HfApi", repo: str) -> bool:
    """Return True if the hub has a dataset as Parquet."""
    with explained(repo, None, "dataset"):
        refs = api.list_repo_refs(repo, repo_type="dataset")
    return any(each.ref == PARQUET for each in refs.converts)
