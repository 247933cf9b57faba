"""Folders of ft. `FT_HOME` moves all of them; otherwise they are the platform's own."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder that holds models, runs, profiles and caches."""
    override = os.environ.get("FT_HOME")
    return Path(override).expanduser().absolute() if override else Path(platformdirs.user_data_dir("ft"))


def models() -> Path:
    """Converted and downloaded models, one folder each."""
    return home() / "models"


def runs() -> Path:
    """Run directories, one folder a run."""
    return home() / "runs"


def datasets() -> Path:
    """Rows that Python programs gave to runs, one file each; a run that is resumed reads them again."""
    return home() / "datasets"


def cache() -> Path:
    """Folder of files that can be made again at any time."""
    return home() / "cache"


def profiles() -> Path:
    """A person's own profiles: `*.yml` files that `ft init --profile` offers beside the shipped ones."""
    return home() / "profiles"
