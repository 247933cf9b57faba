"""Make the pictures of the app in docs/screens from the real app on recorded runs.

python packaging/screenshots.py RUN [OTHER] [--folder FOLDER]      writes docs/screens/*.svg

RUN and OTHER are ids, prefixes of one or paths; OTHER is what RUN is compared with. They are copied, with the
evaluations and exports that were made of them, into a folder of its own, so that nothing else of the person who makes
the pictures is in them. The recipe shown is the one in FOLDER (the repository's if left out).
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from textual.pilot import Pilot

from engine import paths
from engine.runs.directory import registry
from engine.runs.directory.run import Run
from engine.runs.index.made_of import jobs_of
from ft.app import FtApp
from screens.actions import SCREENS
from screens.intents import ChatWith, EditRecipe, ShowData, ShowRun
from screens.runs.table import RunsTable

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "screens"
SIZE = (120, 36)
REST_S = 6.0
"""Time for plans, previews and samples of the machine to be there."""
SOON_S = 1.5
JOBS = {"evaluate": "evaluation", "export": "export"}
"""Pictures of Monitor on a job, by its kind."""


async def pictures(runs: Sequence[Run], jobs: Mapping[str, Run], recipe: Path) -> None:
    """One picture a screen, of the jobs of the first run, of the sheets over Runs, of the help and the palette."""
    app = FtApp()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(REST_S)
        for _, scope, _ in SCREENS:
            if scope == "monitor":
                app.open(ShowRun(runs[0].id))
            elif scope == "recipe":
                app.open(EditRecipe(path=recipe))
            elif scope == "datasets":
                app.open(ShowData(str(ROOT / "engine" / "data" / "starter" / "train.jsonl")))
            elif scope == "chat":
                app.open(ChatWith(runs[0].id))
            else:
                app.go(scope)
            await pilot.pause(REST_S)
            save(app, scope)
        for kind, job in jobs.items():
            app.open(ShowRun(job.id))
            await pilot.pause(SOON_S)
            save(app, JOBS[kind])
        app.go("runs")
        await over_runs(app, pilot, runs)


async def over_runs(app: FtApp, pilot: Pilot[None], runs: Sequence[Run]) -> None:
    """Pictures of what lies over the Runs screen."""
    if app.front is not None:
        app.front.set_focus(app.front.query_one(RunsTable))
    await pilot.press("slash", *("colon" if letter == ":" else letter for letter in "kind:train"))
    await pilot.press("enter")
    await pilot.pause(SOON_S)
    table = pilot.app.screen.query_one(RunsTable)
    for run in reversed(runs):  # the first is under the cursor in the end
        below = [row.id for row in table.rows].index(run.id)
        await pilot.press("home", *["down"] * below, "space")
    await pilot.pause(SOON_S)
    save(app, "runs")
    sheets = [("u", "use"), ("E", "evaluations")] + ([("c", "compare")] if len(runs) > 1 else [])
    for key, name in sheets:
        await pilot.press(key)
        await pilot.pause(SOON_S)
        save(app, name)
        await pilot.press("escape")
    for key, name in (("question_mark", "help"), ("colon", "palette")):
        await pilot.press(key)
        await pilot.pause(SOON_S)
        save(app, name)
        await pilot.press("escape")


def save(app: FtApp, name: str) -> None:
    """Write the app as it stands to docs/screens/NAME.svg."""
    (PICTURES / f"{name}.svg").write_text(app.export_screenshot(title=f"ft · {name}"), encoding="utf-8")


def copied(run: Run) -> None:
    """Copy a run, and what a job has written; a job names its model by the run's id, since paths are others now."""
    folder = paths.runs() / run.id
    shutil.copytree(run.folder, folder)
    if not run.job:
        return
    body = dict(run.job) | {"model": Run.open(str(run.job["model"])).id}
    if "out" in body:
        out = Path(body["out"])
        body["out"] = str(paths.home() / "exports" / out.name)
        shutil.copytree(out, body["out"])
    (folder / registry.JOB).write_text(json.dumps(body))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--folder", type=Path, default=ROOT)
    given = parser.parse_args()
    runs, models, folder = [Run.open(one) for one in given.runs], paths.models(), given.folder.absolute()
    made = [job for run in runs for kind in JOBS for job in list(jobs_of(run, kind))[-1:]]
    jobs = {job.kind: job for job in reversed(made)}
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, contextlib.chdir(folder):
        os.environ |= {"HOME": home, "FT_HOME": f"{home}/.local/share/ft"}
        for run in (*runs, *made):
            copied(run)
        if models.is_dir():
            paths.models().symlink_to(models)
        asyncio.run(pictures(runs, jobs, folder / "train.yml"))


if __name__ == "__main__":
    main()
