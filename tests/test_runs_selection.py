"""Selected runs: each keeps its number while it is selected, and the lowest free one is given next."""

from screens.runs.selection import SLOTS, Selection, colour_of


def test_selected_run_keeps_its_number() -> None:
    """A number that has become free is used again."""
    selection = Selection()
    for run_id in ("a", "b", "c"):
        selection.toggle(run_id)
    selection.toggle("b")
    assert selection.slots == {"a": 0, "c": 2}
    selection.toggle("d")
    assert selection.slots == {"a": 0, "c": 2, "d": 1}
    selection.drop(["a", "x"])
    assert selection.slots == {"c": 2, "d": 1}
    selection.clear()
    assert not selection.slots


def test_every_drawn_run_number_has_colour() -> None:
    assert all(colour_of(slot).startswith("#") for slot in range(SLOTS))
