"""What may go, and why: a pure function from facts to removals.

Two rules hold whatever is asked for. A run's best and last checkpoint, the one that is its result, and those that
another run names stay. And of what a run needs that has not completed, nothing goes: it may be resumed.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from engine.housekeeping.facts import Cached, Facts, Kind, Leftover, Stored
from engine.housekeeping.hub_cache import Repository, Revision
from engine.housekeeping.run_records import Checkpoint, RunRecord
from engine.units import ago

KINDS: tuple[Kind, ...] = get_args(Kind)
USUAL: frozenset[Kind] = frozenset(KINDS) - {"models"}
"""What goes unless a person says otherwise; models go only where they are asked for."""
DAY_S = 86400.0
UNOWNED_S = DAY_S
"""Age from which a leftover of which nobody knows the process is taken for one."""


@dataclass(frozen=True)
class Policy:
    """What a person lets go."""

    kinds: frozenset[Kind] = USUAL
    older_than_s: float = 30 * DAY_S
    """Age from which checkpoints (since their run ended), cache files, revisions, rows and models are old, seconds."""


@dataclass(frozen=True)
class Removal:
    """Something that may go. `bytes` are what it frees on the disk."""

    kind: Kind
    name: str
    paths: tuple[Path, ...]
    bytes: int
    reason: str
    run: str | None = None
    """Id of the run that it belongs to, under whose lock it is removed."""
    repo: str | None = None
    """Repository of the hub that it belongs to."""


def removals(facts: Facts, policy: Policy) -> list[Removal]:
    """What the policy lets go of what there is, in the order of the kinds. Nothing is touched."""
    chosen = {
        "checkpoints": _checkpoints,
        "cache": _cache,
        "hub": _hub,
        "datasets": _datasets,
        "leftovers": _leftovers,
        "models": _models,
    }
    before = facts.now - policy.older_than_s
    return [one for kind in KINDS if kind in policy.kinds for one in chosen[kind](facts, before)]


def _checkpoints(facts: Facts, before: float) -> Iterator[Removal]:
    """Checkpoints of runs that completed before a time, but those that somebody names."""
    referred = frozenset(reference for run in facts.runs for reference in run.refers)
    for run in facts.runs:
        if not run.finished or run.alive or run.linked or not run.clear or run.ended > before:
            continue
        why = f"its run completed {ago(run.ended, facts.now)}; the best and the last one stay"
        for checkpoint in run.checkpoints:
            if not _is_kept(run, checkpoint, referred):
                name = f"{run.id} step {checkpoint.step}"
                yield Removal("checkpoints", name, (checkpoint.folder,), checkpoint.bytes, why, run=run.id)


def _is_kept(run: RunRecord, checkpoint: Checkpoint, referred: frozenset[tuple[str, int]]) -> bool:
    newest = max(one.step for one in run.checkpoints)
    return checkpoint.step in {*run.named, newest} or any(
        step == checkpoint.step and _may_mean(name, run) for name, step in referred
    )


def _may_mean(name: str, run: RunRecord) -> bool:
    """Return True if a name can be the run's: its id, the beginning of one, the end of its folder's name, or a dot."""
    return run.id.startswith(name) or run.folder.name.endswith(name) or set(name) == {"."}


def _cache(facts: Facts, before: float) -> Iterator[Removal]:
    """Entries that were not used since a time. Small files go together."""
    old = [one for one in facts.cache if one.used <= before and not _is_in_use(one, facts.runs)]
    groups: dict[str, list[Cached]] = {}
    for one in old:
        groups.setdefault(one.group if one.group in ("rows", "digests") else one.name, []).append(one)
    for name, members in groups.items():
        used = max(one.used for one in members)
        several = f"{len(members)} files, " if len(members) > 1 else ""
        yield Removal(
            "cache",
            name,
            tuple(path for one in members for path in one.paths),
            sum(one.bytes for one in members),
            f"{several}last used {ago(used, facts.now)}; made or fetched again where it is needed",
        )


def _is_in_use(one: Cached, runs: Iterable[RunRecord]) -> bool:
    """Return True if a run may read an entry again: tokens while it lives, fetched rows until it has completed."""
    for run in runs:
        needs = (one.group == "tokens" and run.alive) or (
            one.group == "sources" and not run.finished and run.fetched
        )
        if needs and one.used >= run.started:
            return True
    return False


def _hub(facts: Facts, before: float) -> Iterator[Removal]:
    """Revisions that no branch or tag means any more, but the newest of each repository and those that runs name."""
    for repo in facts.hub:
        old = [
            one
            for one in repo.revisions[1:]
            if not one.refs and one.changed <= before and not _is_named(repo, one, facts.runs)
        ]
        left = {blob for one in repo.revisions if one not in old for blob in one.blobs}
        for one in old:
            freed = sum(size for blob, size in one.blobs.items() if blob not in left)
            left |= set(one.blobs)  # what two revisions share is counted once
            yield Removal(
                "hub",
                f"{repo.kind} {repo.name}@{one.commit}",
                (one.snapshot,),
                freed,
                f"an older revision, fetched {ago(one.changed, facts.now)}, that no branch, tag or run names",
                repo=repo.name,
            )


def _is_named(repo: Repository, revision: Revision, runs: Iterable[RunRecord]) -> bool:
    """Return True if a run may need a revision: one that names its commit, or an unfinished one that names none."""
    for run in runs:
        if revision.commit in run.text:  # by its commit, or by a path to it
            return True
        if not (repo.name in run.text or repo.folder.name in run.text):
            continue
        if any(revision.commit.startswith(one) for one in run.commits):
            return True
        if not run.finished and (repo.kind != "model" or not run.commits):
            return True
    return False


def _datasets(facts: Facts, before: float) -> Iterator[Removal]:
    for one in facts.datasets:
        if one.used <= before and not any(one.name in run.text for run in facts.runs):
            why = f"rows that a program gave {ago(one.used, facts.now)}, and that no run names"
            yield Removal("datasets", one.name, one.paths, one.bytes, why)


def _leftovers(facts: Facts, before: float) -> Iterator[Removal]:
    for one in facts.leftovers:
        if not one.busy and _is_left(one, facts, before):
            why = f"left by {one.about}, {ago(one.used, facts.now)}"
            yield Removal("leftovers", one.name, one.paths, one.bytes, why, run=one.run, repo=one.repo)


def _is_left(one: Leftover, facts: Facts, before: float) -> bool:
    if one.repo is not None:  # a person may want to go on with it, and a run that is not finished will
        wanted = any(one.repo in run.text and not run.finished for run in facts.runs)
        return one.used <= min(before, facts.now - UNOWNED_S) and not wanted
    return one.owned or one.used <= facts.now - UNOWNED_S


def _models(facts: Facts, before: float) -> Iterator[Removal]:
    for one in facts.models:
        if one.used <= before and not any(_is_model_of(one, run) for run in facts.runs):
            why = f"no run names it; changed {ago(one.used, facts.now)}"
            yield Removal("models", one.name, one.paths, one.bytes, why)


def _is_model_of(model: Stored, run: RunRecord) -> bool:
    """Return True if a run's records have the folder's name as a word, be it in a path or alone."""
    return re.search(rf"(?<![\w-]){re.escape(model.name)}(?![\w-])", run.text) is not None
