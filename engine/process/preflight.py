"""Preflight checks of a recipe: the fast ones, before an engine is started for it."""

from pathlib import Path

from engine import offline
from engine.config.recipe_paths import HUB
from engine.config.schema import TrainConfig
from engine.errors import HubError
from engine.text import listed


def check(config: TrainConfig) -> None:
    """Open the data files that are here and look at a local model's folder.

    What takes longer (every row, a download, the plan) is the engine's to find out. Raises DataError, ModelError, and
    HubError where the network is forbidden and something is missing.
    """
    from engine.data.sources.resolve import away, everything, open_source
    from engine.models.local import check as check_folder

    if missing := missing_offline(config):
        raise HubError(
            f"{offline.variable()} forbids to fetch what this run needs: {listed(missing)}.",
            "Fetch it once with a network: ft models pull NAME for a model, ft data check for data.",
            unreachable=True,
        )
    for source, part in everything(config.data):
        if not away(source, part):
            next(iter(open_source(source, config.data, part).table.rows()), None)
    folder = Path(config.model.base).expanduser()
    if folder.is_absolute() or folder.exists():
        check_folder(folder)


def missing_offline(config: TrainConfig) -> list[str]:
    """What a run would fetch, where the network is forbidden: its model and its data, for people."""
    from engine.data.sources.resolve import away, everything, shown
    from engine.models.resolve import is_hub_id

    missing = []
    base, revision = config.model.base, config.model.revision
    if offline.from_hub() and is_hub_id(base):
        from engine.models.hub import cached

        if cached(base, revision) is None:
            missing.append(f"the model {base}" + (f" at {revision}" if revision else ""))
    for source, part in everything(config.data):
        forbidden = offline.everywhere() or (offline.from_hub() and source.path.startswith(HUB))
        if forbidden and away(source, part):
            missing.append(f"the data {shown(source)}")
    return missing
