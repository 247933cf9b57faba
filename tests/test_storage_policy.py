"""What may go: whatever runs and whichever policy, the best, the last and what an unfinished run needs never do."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.housekeeping.facts import Cached, Facts, Leftover, Stored
from engine.housekeeping.hub_cache import Repository, Revision
from engine.housekeeping.policy import KINDS, Policy, removals
from engine.housekeeping.run_records import Checkpoint, RunRecord

NOW = 1_800_000_000.0
DAY = 86400.0
IDS = ("20260101-000000-sql", "20260101-000001-sql-2", "20260102-000000-chat")
COMMITS = tuple(letter * 40 for letter in "abcde")
REPOS = ("ada/model", "ada/rows")
NAMES = ("one", "two", "three.jsonl")
times = st.one_of(st.just(0.0), st.floats(NOW - 100 * DAY, NOW + DAY))
steps = st.integers(1, 8)


@st.composite
def records(draw: st.DrawFn, run_id: str) -> RunRecord:
    folder = Path("/runs") / run_id
    there = sorted(draw(st.sets(steps)))
    own = tuple(Checkpoint(folder / "checkpoints" / f"step-{step:06}", step, 100 * step) for step in there)
    words = draw(st.lists(st.sampled_from((*REPOS, *COMMITS, *NAMES, "/models/one", "junk")), max_size=5))
    alive = draw(st.booleans())
    return RunRecord(
        run_id,
        folder,
        finished=not alive and draw(st.booleans()),
        alive=alive,
        started=draw(times),
        ended=draw(times),
        checkpoints=own,
        named=frozenset(draw(st.sets(steps, max_size=2))),
        clear=draw(st.integers(0, 5)) > 0,
        text="\n".join(words),
        commits=frozenset(draw(st.sets(st.sampled_from(COMMITS), max_size=2))),
        fetched=draw(st.booleans()),
        linked=draw(st.integers(0, 5)) == 0,
        refers=frozenset(draw(st.sets(st.tuples(st.sampled_from((*IDS, "20260101", "sql", ".")), steps)))),
    )


@st.composite
def repositories(draw: st.DrawFn, name: str, kind: str) -> Repository:
    folder = Path("/hub") / name
    blobs = [folder / "blobs" / str(number) for number in range(4)]
    revisions = [
        Revision(
            name,
            kind,
            commit,
            frozenset(draw(st.sets(st.sampled_from(("main", "v1")), max_size=1))),
            folder / "snapshots" / commit,
            dict.fromkeys(draw(st.sets(st.sampled_from(blobs))), 1000),
            draw(times),
        )
        for commit in sorted(draw(st.sets(st.sampled_from(COMMITS))))
    ]
    return Repository(name, kind, folder, tuple(sorted(revisions, key=lambda one: -one.changed)))


@st.composite
def stored(draw: st.DrawFn, place: str, name: str) -> Stored:
    return Stored(name, (Path(place) / name,), draw(st.integers(0, 1000)), draw(times))


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    cache = [
        Cached(f"{group}/{number}", (Path("/cache") / group / str(number),), 10, draw(times), group)
        for group in ("tokens", "sources", "rows")
        for number in range(2)
    ]
    leftovers = [
        Leftover(
            f"/left/{number}",
            (Path(f"/left/{number}"),),
            5,
            draw(times),
            "an interrupted write",
            busy=draw(st.booleans()),
            owned=draw(st.booleans()),
            repo=draw(st.sampled_from((None, *REPOS))),
        )
        for number in range(3)
    ]
    return Facts(
        NOW,
        tuple(draw(records(run_id)) for run_id in IDS[: draw(st.integers(0, 3))]),
        tuple(cache),
        (draw(repositories(REPOS[0], "model")), draw(repositories(REPOS[1], "dataset"))),
        tuple(draw(stored("/datasets", name)) for name in NAMES),
        tuple(draw(stored("/models", name)) for name in NAMES),
        tuple(leftovers),
    )


policies = st.builds(
    Policy, st.frozensets(st.sampled_from(KINDS)), st.one_of(st.just(0.0), st.floats(0, 200 * DAY))
)


@given(worlds(), policies)
def test_best_last_and_named_checkpoints_never_go(facts: Facts, policy: Policy) -> None:
    gone = {path for one in removals(facts, policy) for path in one.paths}
    for run in facts.runs:
        newest = max((one.step for one in run.checkpoints), default=None)
        for checkpoint in run.checkpoints:
            referred = any(
                step == checkpoint.step and (run.id.startswith(name) or run.id.endswith(name) or name == ".")
                for other in facts.runs
                for name, step in other.refers
            )
            if checkpoint.step in {*run.named, newest} or referred:
                assert checkpoint.folder not in gone


@given(worlds(), policies)
def test_what_an_unfinished_run_needs_never_goes(facts: Facts, policy: Policy) -> None:
    found = removals(facts, policy)
    gone = {path for one in found for path in one.paths}
    for run in (run for run in facts.runs if not run.finished):
        assert not gone & {one.folder for one in run.checkpoints}
        for kind, things in (("datasets", facts.datasets), ("models", facts.models)):
            named = {
                thing.name for thing in things if thing.name in run.text.replace("/models/", "").split("\n")
            }
            assert not named & {one.name for one in found if one.kind == kind}
        for repo in (repo for repo in facts.hub if repo.name in run.text.split("\n")):
            for revision in repo.revisions:
                if revision.commit in run.commits or revision.commit in run.text or not run.commits:
                    assert revision.snapshot not in gone
            assert not gone & {path for one in facts.leftovers if one.repo == repo.name for path in one.paths}
        for one in facts.cache:
            if run.fetched and one.group == "sources" and one.used >= run.started:
                assert not gone & set(one.paths)


@given(worlds(), policies)
def test_nothing_is_younger_than_asked_for_or_of_another_kind(facts: Facts, policy: Policy) -> None:
    found = removals(facts, policy)
    assert {one.kind for one in found} <= policy.kinds
    ended = {run.id: run.ended for run in facts.runs}
    assert all(
        ended[one.run] <= NOW - policy.older_than_s for one in found if one.kind == "checkpoints" and one.run
    )
    for kind, things in (("datasets", facts.datasets), ("models", facts.models)):
        young = {thing.name for thing in things if thing.used > NOW - policy.older_than_s}
        assert not young & {one.name for one in found if one.kind == kind}
    busy = {path for one in facts.leftovers if one.busy for path in one.paths}
    assert not busy & {path for one in found for path in one.paths}


@given(worlds(), policies)
def test_a_branch_and_the_newest_revision_stay_and_the_figure_is_what_is_freed(
    facts: Facts, policy: Policy
) -> None:
    found = [one for one in removals(facts, policy) if one.kind == "hub"]
    gone = {path for one in found for path in one.paths}
    freed = 0
    for repo in facts.hub:
        left = [one for one in repo.revisions if one.snapshot not in gone]
        assert left[:1] == list(repo.revisions[:1])
        assert all(not one.refs for one in repo.revisions if one not in left)
        before = {blob for one in repo.revisions for blob in one.blobs}
        freed += 1000 * len(before - {blob for one in left for blob in one.blobs})
    assert sum(one.bytes for one in found) == freed


@given(worlds(), policies)
def test_every_removal_has_a_reason_and_nothing_goes_twice(facts: Facts, policy: Policy) -> None:
    found = removals(facts, policy)
    assert all(one.reason and one.paths for one in found)
    paths = [path for one in found for path in one.paths]
    assert len(paths) == len(set(paths))


def test_old_things_do_go() -> None:
    """The properties above would hold of a policy that lets nothing go."""
    folder = Path("/runs") / IDS[0]
    own = tuple(Checkpoint(folder / f"step-{step:06}", step, 7) for step in (1, 2, 3))
    run = RunRecord(IDS[0], folder, True, ended=NOW - 31 * DAY, checkpoints=own, named=frozenset({2}))
    old = Stored("old", (Path("/old"),), 1, NOW - 31 * DAY)
    facts = Facts(NOW, (run,), datasets=(old,), models=(old,))
    assert [one.name for one in removals(facts, Policy())] == [f"{IDS[0]} step 1", "old"]
    assert [one.kind for one in removals(facts, Policy(frozenset({"models"})))] == ["models"]
