"""The app's own process stays light: what it holds after every screen was visited."""

import json
import subprocess
import sys
from pathlib import Path

from tests.run_fixtures import make_run

HEAVY = {"torch", "transformers", "mlx", "datasets", "pyarrow", "peft", "gguf", "tokenizers"}

VISIT = """
import asyncio, json, sys
from ft.app import FtApp
from screens.actions import SCREENS

async def main():
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        for _, scope, _ in SCREENS:
            app.go(scope)
            await pilot.pause(0.3)
            assert app.scope == scope

asyncio.run(main())
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def test_no_screen_imports_heavy_packages(ft_home: Path) -> None:
    make_run("20260528-123456-orders")
    done = subprocess.run([sys.executable, "-P", "-c", VISIT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1]))
