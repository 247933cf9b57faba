"""Notes between the lines of a text: whatever they are, each line is shown once and found again."""

from hypothesis import given
from hypothesis import strategies as st
from textual.document._document import Document
from textual.geometry import Offset

from engine.config.problems import Place, Problem
from screens.recipe.notes import NotedDocument, note_rows


@given(
    count=st.integers(1, 30),
    notes=st.dictionaries(st.integers(0, 40), st.lists(st.text("ab", min_size=1), min_size=1, max_size=4)),
)
def test_each_recipe_line_is_shown_once(count: int, notes: dict[int, list[str]]) -> None:
    """Lines stay in order, and the cursor and the mouse find them."""
    document = NotedDocument(Document("\n".join("word" for _ in range(count))))
    document.notes = dict(sorted(notes.items()))
    rows = [document.at(row) for row in range(document.height)]
    assert [line for line, note in rows if note is None] == list(range(count))
    assert [note for _, note in rows if note is not None] == [
        one for told in document.notes.values() for one in told
    ]
    for row, (line, note) in enumerate(rows):
        assert document.offset_to_location(Offset(2, row)) == (line, 2)
        if note is None:
            assert document.location_to_offset((line, 2)) == (2, row)
    below = document.offset_to_location(Offset(2, document.height + 5))
    assert below[0] == count - 1


def test_note_is_broken_to_the_width() -> None:
    """It does not repeat the key of its line."""
    problem = Problem(
        Place("train.yml", 1, 3), "adapter.alpa: there is no such key; did you mean alpha?", "adapter.alpa"
    )
    assert note_rows([problem], "  alpa: 32", 24) == ["╰ there is no such key;", "  did you mean alpha?"]
    assert note_rows([problem], "adapter: {}", 80) == ["╰ " + problem.message]


def test_a_note_shows_no_control_characters() -> None:
    problem = Problem(Place("train.yml", 1, 1), "\x1b[31m: there is no such key", "")
    assert note_rows([problem], "", 80) == ["╰ ·[31m: there is no such key"]
