"""The token view in itself: nothing is lost in wrapping, nothing is wider than its room, all is told without colour."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.data.preview.values import Lengths, TokenText
from screens.datasets.lengths import bins, histogram, summary
from screens.datasets.tokens import visible, wrap

characters = st.sampled_from(
    [*"ab ,.", " the", " word", "\n", "\t", "你", "好", "é", "👩", "\u200b", "\x07", "\u202e"]
)
texts = st.lists(characters, min_size=1, max_size=6).map("".join)
pieces = st.lists(
    st.builds(TokenText, texts, st.booleans(), st.booleans(), st.just(False), st.just(1)), max_size=30
)


def said(shown: list[TokenText]) -> str:
    """Text that a person should read, without any break."""
    return "".join(f"⟦{visible(piece.text)}⟧" if piece.special else visible(piece.text) for piece in shown)


@given(shown=pieces, width=st.integers(2, 40))
def test_wrapped_tokens_stay_whole_within_width(shown: list[TokenText], width: int) -> None:
    lines = wrap(shown, width)
    assert "".join(run.text for line in lines for run in line) == said(shown)
    assert all(sum(cell_len(run.text) for run in line) <= width for line in lines)


@given(shown=pieces)
def test_wrapped_text_keeps_its_own_lines(shown: list[TokenText]) -> None:
    """There is room for every line."""
    lines = ["".join(run.text for run in line) for line in wrap(shown, 10_000)]
    breaks = sum(piece.text.count("\n") for piece in shown if not piece.special)
    assert breaks <= len(lines) <= breaks + 1


def test_words_of_several_tokens_stay_whole() -> None:
    """Trained text keeps its look."""
    words = [
        TokenText(text, trained, False, False, 1)
        for text, trained in (("un", True), ("happ", True), ("ily", False))
    ]
    lines = wrap(
        [TokenText("so very", False, False, False, 1), *[TokenText(" ", False, False, False, 1)], *words], 12
    )
    assert next("".join(run.text for run in line) for line in lines) == "so very"
    looks = [(run.text, run.look) for line in lines[1:] for run in line]
    assert ("happ", "trained") in looks
    assert ("ily", "plain") in looks


def test_cut_line_names_token_limit() -> None:
    lines = wrap(
        [TokenText("kept", True, False, False, 1), TokenText("gone", True, False, True, 1)], 60, limit=512
    )
    assert ["".join(run.text for run in line) for line in lines] == [
        "kept",
        "╌╌ truncated here: max_seq_length 512 ╌╌",
        "gone",
    ]
    assert lines[2][0].look == "cut"


def test_token_bounds_separate_tokens_of_word() -> None:
    (line,) = wrap(
        [TokenText("crê", False, False, False, 1), TokenText("pes", False, False, False, 1)], 40, bounds=True
    )
    assert "".join(run.text for run in line) == "crê·pes"


def test_invisible_characters_in_text_are_shown() -> None:
    assert visible("a\tb\nc\x00d\u200be\u202ef\x85g") == "a⇥b⏎c␀d‹U+200B›e‹U+202E›f‹U+0085›g"


@given(
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=60),
    limit=st.integers(1, 6000),
    most=st.integers(2, 12),
)
def test_histogram_counts_every_row_once(lengths: list[int], limit: int, most: int) -> None:
    """The limit is between two bars."""
    ranges = bins(lengths, limit, most)
    assert sum(rows for _, _, rows in ranges) == len(lengths)
    assert len(ranges) <= most + 1
    assert [low for low, _, _ in ranges[1:]] == [high for _, high, _ in ranges[:-1]]
    if max(lengths) > limit:
        assert limit in {high for _, high, _ in ranges}


def test_histogram_names_sample_and_marks_cut_rows() -> None:
    found = Lengths(4, 1_000_000, True, (50, 60, 90, 700), 712, 300, 1, 188, ())
    text = histogram(found, 512, 60).plain
    assert "✂" in text.splitlines()[-1]
    assert "25 %" in text.splitlines()[-1]
    assert summary(found, 512)[0] == "a sample of 4 of 1\u202f000\u202f000 rows, longest 700 tokens"
    assert "188 trained tokens lost" in summary(found, 512)[2]
    early = replace(found, of=5000, counted=False)
    assert summary(early, 512)[0].startswith("a sample of 4 of 5\u202f000 rows so far, ")
    assert summary(Lengths(2, 2, True, (50, 60), 110, 50, 0, 0, ()), 512)[0] == "2 rows, longest 60 tokens"


def test_line_separates_examples_of_row() -> None:
    between = TokenText("example 2 of 2 of this row", False, False, False, 0)
    shown = [TokenText("one", True, False, True, 1), between, TokenText("two", True, False, False, 1)]
    lines = ["".join(run.text for run in line) for line in wrap(shown, 60, bounds=True, limit=8)]
    assert lines == [
        "╌╌ truncated here: max_seq_length 8 ╌╌",
        "one",
        "╌╌ example 2 of 2 of this row ╌╌",
        "two",
    ]
