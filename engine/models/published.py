"""What a base model is called where other people can find it; never a folder of this machine's user."""

import re
from dataclasses import dataclass
from pathlib import Path

from engine.models import starter
from engine.models.resolve import LocalModel

CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)/snapshots/(?P<commit>[0-9a-f]{40})$")
"""How a folder in the hub's cache ends."""


@dataclass(frozen=True)
class PublishedBase:
    """A model's name for `base_model_name_or_path`, and the commit of a hub model."""

    name: str
    revision: str | None = None

    @staticmethod
    def of(model: LocalModel, start: Path) -> "PublishedBase":
        """What an adapter says it was trained on, for a run that was started in the folder `start`.

        A hub model is its id and commit, the starter the model that it was converted from. A local folder has no name
        that others know: it is the way to it from `start`, as `./models/mine`, or the folder's own name where it lies
        elsewhere. The `./` keeps programs from asking the hub for it.
        """
        if model.revision is not None:
            return PublishedBase(model.name, model.revision)
        if model.folder == starter.folder():
            return PublishedBase(starter.PUBLISHED_AS)
        if cached := CACHED.search(model.folder.as_posix()):
            return PublishedBase(f"{cached['owner']}/{cached['name']}", cached["commit"])
        # From a folder above the home folder, as from /, the way would name the user.
        above_home = start != Path.home() and Path.home().is_relative_to(start)
        inside = not above_home and model.folder != start and model.folder.is_relative_to(start)
        way = model.folder.relative_to(start).as_posix() if inside else model.folder.name
        return PublishedBase(f"./{way}")
