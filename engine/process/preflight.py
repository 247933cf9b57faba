"""Preflight checks of a recipe: the fast ones, before an engine is started for it."""

from pathlib import Path

from engine.config.schema import TrainConfig


def check(config: TrainConfig) -> None:
    """Open the data files that are here and look at a local model's folder. Raises DataError or ModelError.

    What takes longer (every row, a download, the plan) is the engine's to find out.
    """
    from engine.data.sources.resolve import away, everything, open_source
    from engine.models.local import check as check_folder

    for source, part in everything(config.data):
        if not away(source, part):
            next(iter(open_source(source, config.data, part).table.rows()), None)
    folder = Path(config.model.base).expanduser()
    if folder.is_absolute() or folder.exists():
        check_folder(folder)
