"""Make the README's pictures from the real app on a recorded run.

python packaging/screenshots.py RUN [FOLDER]      writes docs/screens/*.svg

RUN is an id, a prefix of one or a path. The run is copied into a folder of its own, so that nothing else of the
person who makes the pictures is in them, and the recipe shown is the one in FOLDER (the repository's if left out).
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from engine import paths
from engine.runs.directory.run import Run
from ft.app import FtApp
from screens.actions import SCREENS
from screens.intents import ChatWith, EditRecipe, ShowData, ShowRun

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "screens"
SIZE = (120, 36)
REST_S = 6.0
"""Time for plans, previews and samples of the machine to be there."""


async def pictures(run_id: str, recipe: Path) -> None:
    """One picture a screen, and one of the help and the palette."""
    app = FtApp()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(REST_S)
        for _, scope, _ in SCREENS:
            if scope == "monitor":
                app.open(ShowRun(run_id))
            elif scope == "recipe":
                app.open(EditRecipe(path=recipe))
            elif scope == "datasets":
                app.open(ShowData(str(ROOT / "engine" / "data" / "starter" / "train.jsonl")))
            elif scope == "chat":
                app.open(ChatWith(run_id))
            else:
                app.go(scope)
            await pilot.pause(REST_S)
            save(app, scope)
        app.go("runs")
        for key, name in (("question_mark", "help"), ("colon", "palette")):
            if app.front is not None:
                app.front.set_focus(None)
            await pilot.press(key)
            await pilot.pause(0.5)
            save(app, name)
            await pilot.press("escape")


def save(app: FtApp, name: str) -> None:
    """Write the app as it stands to docs/screens/NAME.svg."""
    (PICTURES / f"{name}.svg").write_text(app.export_screenshot(title=f"ft · {name}"), encoding="utf-8")


def main(reference: str, folder: Path = ROOT) -> None:
    run, models = Run.open(reference), paths.models()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, contextlib.chdir(folder):
        os.environ |= {"HOME": home, "FT_HOME": f"{home}/.local/share/ft"}
        shutil.copytree(run.folder, paths.runs() / run.id)
        if models.is_dir():
            paths.models().symlink_to(models)
        asyncio.run(pictures(run.id, folder / "train.yml"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).absolute() if len(sys.argv) > 2 else ROOT)
