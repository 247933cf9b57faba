"""The engine runs on its own allocator where there is one, and only the engine."""

import os
import subprocess
import sys

import pytest

from engine.hardware.allocator import preload

linux = pytest.mark.skipif(sys.platform != "linux", reason="preloading is for Linux")


@linux
def test_preload_puts_mimalloc_in_child_process() -> None:
    maps = "print(open('/proc/self/maps').read())"
    done = subprocess.run(
        [sys.executable, "-c", maps], env=os.environ | preload(), capture_output=True, text=True, check=True
    )
    assert "libmimalloc" in done.stdout
    assert not done.stderr


@linux
def test_ulimit_reserves_no_address_space() -> None:
    """Else a gigabyte of it is gone before the first library is loaded."""
    code = (
        "import resource, subprocess, sys; resource.setrlimit(resource.RLIMIT_AS, (12 * 10**8,) * 2); "
        "import os; from engine.hardware.allocator import preload; "
        "child = [sys.executable, '-c', 'import mmap; mmap.mmap(-1, 5 * 10**8)']; "
        "sys.exit(subprocess.call(child, env=os.environ | preload()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@linux
def test_users_own_preload_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/opt/theirs.so")
    assert preload()["LD_PRELOAD"].endswith(" /opt/theirs.so")


def test_user_can_keep_system_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FT_ALLOCATOR", "system")
    assert preload() == {}
