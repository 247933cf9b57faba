"""Published names of base models, which other people can find: never a folder on this machine."""

import re
from dataclasses import dataclass
from pathlib import Path

from engine.models import starter
from engine.models.resolve import LocalModel

CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)/snapshots/(?P<commit>[0-9a-f]{40})$")
"""End of a folder's path in the hub's cache."""


@dataclass(frozen=True)
class PublishedBase:
    """A model's name for `base_model_name_or_path`, and the commit of a hub model."""

    name: str
    revision: str | None = None

    @staticmethod
    def of(model: LocalModel, start: Path) -> "PublishedBase":
        """The base that an adapter names, for a run that was started in the folder `start`.

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
