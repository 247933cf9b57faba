"""The cycle collector while rows are tokenised."""

import gc

import pytest

from engine.data.collector import OBJECTS, held_back


def test_collector_is_as_before_afterwards() -> None:
    """The block may be left in any way, with any number of blocks inside it."""
    before = gc.get_threshold()

    @held_back()
    def fail() -> None:
        with held_back():
            assert gc.get_threshold() == (OBJECTS, *before[1:])
        assert gc.get_threshold()[0] == OBJECTS
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.get_threshold() == before


def test_collector_that_is_off_stays_off() -> None:
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with held_back():
            assert gc.get_threshold()[0] == 0
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
