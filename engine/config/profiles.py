"""Recipes to start from: those that ship with `ft`, and a person's own in the profiles folder."""

from pathlib import Path

from engine import paths
from engine.config.rules import nearest
from engine.errors import ConfigError
from engine.storage.regular_files import read_text

SHIPPED = Path(__file__).parent / "profiles"


def profile_names() -> list[str]:
    """Every profile: the starter first, the others by name."""
    return sorted(_files(), key=lambda name: (name != "starter", name))


def profile_text(name: str) -> str:
    """A profile's recipe, comments and all. Raises `ConfigError` where there is none of that name."""
    files = _files()
    if name not in files:
        near = nearest(name, list(files))
        meant = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"there is no profile {name}{meant}", f"There are: {', '.join(profile_names())}.")
    try:
        return read_text(files[name])
    except UnicodeDecodeError as error:
        raise ConfigError(f"{files[name]} is not UTF-8 text") from error


def profile_summary(name: str) -> str:
    """A profile's first comment line: what it is for."""
    first = next(iter(profile_text(name).splitlines()), "")
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _files() -> dict[str, Path]:
    """Path by name. A person's own profile stands in front of a shipped one of the same name."""
    found = [*SHIPPED.glob("*.yml"), *paths.profiles().glob("*.yml")]
    return {path.stem: path for path in found if path.is_file()}
