"""Settings → doctor: findings with what mends them, and a proof that is given up by a key."""

import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from ft.app import FtApp
from screens.settings.doctor import DoctorSheet
from tests.monitor_app import until

SIZE = (120, 36)


async def sheet(pilot: Pilot[Any]) -> DoctorSheet:
    await pilot.press("8", "d")
    await until(pilot, lambda: isinstance(pilot.app.screen, DoctorSheet))
    found = pilot.app.screen
    assert isinstance(found, DoctorSheet)
    await until(pilot, lambda: found.report is not None, 30)
    return found


def text(screen: DoctorSheet, part: str) -> str:
    return "\n".join(str(line) for line in screen.query_one(part, Static).content.renderables)  # type: ignore[union-attr]


async def test_problems_come_first_with_what_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    async with FtApp().run_test(size=SIZE) as pilot:
        screen = await sheet(pilot)
        lines = text(screen, "#findings").splitlines()
        assert lines[0] == "problems"
        assert lines[1].startswith("✗ SSL_CERT_FILE names /no/such/file.pem")
        assert "unset SSL_CERT_FILE" in lines[2]
        assert "packages" in lines

        monkeypatch.delenv("SSL_CERT_FILE")
        await pilot.press("r")
        await until(pilot, lambda: "SSL_CERT_FILE" not in text(screen, "#findings"), 30)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, DoctorSheet))


@pytest.mark.slow
async def test_proof_shows_what_it_tries_and_ends_with_a_key(
    ft_home_with_starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def running() -> list[Any]:
        own = {child.pid for child in psutil.Process().children(recursive=True)}
        others = (one.info for one in psutil.process_iter(["pid", "cmdline"]) if one.pid in own)
        # a process that has just ended has no command line
        return [one for one in others if "engine.doctor.prove.child" in (one["cmdline"] or ())]

    async with FtApp().run_test(size=SIZE) as pilot:
        screen = await sheet(pilot)
        await pilot.press("p")
        await until(pilot, lambda: "… A resumed run ends as one" in text(screen, "#claims"))
        await until(pilot, lambda: bool(running()), 30)
        await pilot.press("p")
        await until(pilot, lambda: not screen.proving, 30)
        await until(pilot, lambda: not running())
        assert not list(tmp_path.glob("ft-proof-*"))
