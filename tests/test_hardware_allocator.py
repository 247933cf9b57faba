"""The engine runs on its own allocator where there is one, and only the engine."""

import os
import subprocess
import sys

import pytest

from engine.hardware.allocator import preload

linux = pytest.mark.skipif(sys.platform != "linux", reason="preloading is for Linux")


@linux
def test_a_child_with_the_preload_has_mimalloc_in_it() -> None:
    maps = "print(open('/proc/self/maps').read())"
    done = subprocess.run(
        [sys.executable, "-c", maps], env=os.environ | preload(), capture_output=True, text=True, check=True
    )
    assert "libmimalloc" in done.stdout
    assert not done.stderr


@linux
def test_what_the_person_preloads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/opt/theirs.so")
    assert preload()["LD_PRELOAD"].endswith(" /opt/theirs.so")


def test_the_person_can_keep_the_system_s_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FT_ALLOCATOR", "system")
    assert preload() == {}
