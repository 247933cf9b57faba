"""Fixtures of the cases."""

from pathlib import Path

import pytest

from tests.corpus.reading import Reader


@pytest.fixture
def read(tiny_model: Path, tmp_path: Path) -> Reader:
    """Reads rows as a run on the tiny model does."""
    return Reader(tiny_model, tmp_path)
