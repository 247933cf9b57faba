"""Python and its packages: what ft needs, what shadows what, which backends are ready, and the set that is tested."""

import importlib.util
import json
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from engine.doctor.finding import Finding, fault, note, ok, warning
from engine.hardware.probe import Machine
from engine.planning.backend_choice import candidates
from engine.text import listed

OURS = "ft-studio"
KNOWN_GOOD = Path(__file__).with_name("known_good.json")
"""Versions that the whole suite of tests passes with; packaging/known_good.py writes it."""
IMPORTED = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "safetensors",
    "datasets",
    "huggingface_hub",
    "textual",
)
"""Packages that a file of the same name elsewhere on the path would break."""


def findings(machine: Machine) -> Iterator[Finding]:
    """Python, the packages, and the backends that they make up."""
    yield from interpreter()
    yield from needed(requirements())
    yield from twice(sys.path)
    yield from shadowed(IMPORTED)
    yield from other_ft()
    yield from backends(machine)
    yield from known_set()


def interpreter() -> Iterator[Finding]:
    """Python itself. ft does not install with one that is too old, so only its kind is looked at."""
    where = "an environment of its own" if sys.prefix != sys.base_prefix else "the system's own packages"
    yield ok("python", f"Python {platform.python_version()}, in {where} ({sys.prefix})")
    if sys.maxsize < 2**32:
        yield fault("python-32-bit", "This Python has 32 bits; torch has 64.", "Install a 64-bit Python.")


def requirements() -> list[Requirement]:
    """What this installation of ft asks for on this machine, without its extras; nothing where it is not installed."""
    try:
        asked = distribution(OURS).requires or []
    except PackageNotFoundError:
        return []
    found = []
    for text in asked:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found.append(requirement)
    return found


def needed(asked: Iterable[Requirement]) -> Iterator[Finding]:
    """Packages that are missing, too old or too new."""
    wrong = 0
    for requirement in asked:
        version = _version(requirement.name)
        if version is None:
            text = f"{requirement.name} is not installed."
        elif not requirement.specifier.contains(version, prereleases=True):
            text = f"{requirement.name} {version} is installed; ft needs {requirement.specifier}."
        else:
            continue
        wrong += 1
        wanted = f"{requirement.name}{requirement.specifier}"
        yield fault("package", text, f"{sys.executable} -m pip install '{wanted}'")
    if not wrong:
        yield ok("packages", "Every package that ft needs is installed, in a version that it takes")


def twice(folders: Iterable[str]) -> Iterator[Finding]:
    """Packages of which one of the `folders` on Python's path holds two versions, as a cut upgrade leaves them."""
    for folder in dict.fromkeys(folders):
        infos = (info.name.partition("-")[0] for info in Path(folder).glob("*-*.dist-info"))
        for name, count in Counter(map(canonicalize_name, infos)).items():
            if count > 1:
                yield fault(
                    "installed-twice",
                    f"{name} is installed {count} times in {folder}, as a cut upgrade leaves it.",
                    f"{sys.executable} -m pip install --force-reinstall --no-deps {name}",
                )


def shadowed(names: Iterable[str]) -> Iterator[Finding]:
    """Packages in whose place Python would import another file of that name."""
    for name in names:
        spec, found = importlib.util.find_spec(name), _distribution(name)
        if spec is None or spec.origin is None or found is None or _is_editable(found):
            continue
        home = Path(str(found.locate_file(name))).resolve()
        taken = Path(spec.origin).resolve()
        if home.exists() and home not in taken.parents:
            yield fault(
                "shadowed",
                f"Python takes {name} from {taken}, not from the installed package.",
                f"Rename or move {taken}, or take its folder out of PYTHONPATH.",
            )


def other_ft(path: str | None = None) -> Iterator[Finding]:
    """Another installation's `ft` that a shell would start. `path` is a PATH; None is this process's."""
    first, own = shutil.which("ft", path=path), Path(sys.executable).with_name("ft")
    if first is None or not own.exists() or Path(first).resolve() == own.resolve():
        return
    text = Path(first).read_bytes()[:400] if os.access(first, os.R_OK) else b""
    if str(own.parent).encode() not in text:
        yield warning(
            "another-ft",
            f"A shell starts another ft: {first}. This one is {own}.",
            "Uninstall one of them, or put its folder first in PATH.",
        )


def backends(machine: Machine) -> Iterator[Finding]:
    """What can train here, and why the others cannot."""
    found = candidates(machine)
    for one in found:
        versions = [
            f"{name} {version}"
            for name in (one.spec.packages_for(machine.system) if one.spec else ())
            if (version := _version(name))
        ]
        if one.problem is None:
            yield ok("backend", f"{one.backend} trains on {one.device} ({', '.join(versions)})")
        elif one.spec is None:
            yield fault("backend", f"{one.backend}: {one.problem.message}", one.problem.hint)
        else:
            yield note("backend", f"{one.backend}: {one.problem.message}", one.problem.hint)
    if all(one.problem is not None for one in found):
        yield fault("no-backend", "No backend can train here.", f"{sys.executable} -m pip install torch peft")


def known_set(versions: dict[str, str] | None = None) -> Iterator[Finding]:
    """How the installed versions differ from the set that the tests pass with. `versions` are the installed ones."""
    known: dict[str, str] = json.loads(KNOWN_GOOD.read_text())["versions"]
    here = {name: _version(name) for name in known} if versions is None else versions
    other = [
        f"{name} {here[name]} (tested: {version})"
        for name, version in known.items()
        if here.get(name) and not _same(str(here[name]), version)
    ]
    if other:
        yield note("tested-set", f"Other versions than the tests ran with: {listed(other, 6)}.")
    else:
        yield ok("tested-set", "These are the versions that ft's tests pass with")


def _same(left: str, right: str) -> bool:
    """Return True for one release, whatever it was built for (`2.9.0+cpu`)."""
    try:
        return Version(left).public == Version(right).public
    except InvalidVersion:
        return left == right


def _version(name: str) -> str | None:
    found = _distribution(name)
    return found.version if found is not None else None


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except (PackageNotFoundError, InvalidRequirement, ValueError):
        return None


def _is_editable(found: Distribution) -> bool:
    return '"editable"' in (found.read_text("direct_url.json") or "")
