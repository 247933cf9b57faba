"""The garbage collector rests while a library is imported, and goes on as before."""

import gc

import pytest

from engine.heavy_imports import without_collector


def test_collector_rests_inside_only() -> None:
    with without_collector():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collector_goes_on_after_a_failed_import() -> None:
    with pytest.raises(ImportError), without_collector():
        import no_such_library  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with without_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
