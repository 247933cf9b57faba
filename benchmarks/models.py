"""Time of `ft models list`, `ft models search`, `ft models pull` and `ft doctor`.

    .venv/bin/python benchmarks/models.py [--models 200] [--files 4] [--megabytes 64] [--delay 0.2] [--rounds 5]

*List*: so many folders with a tiny model each, the first time and from the cache, beside `ft --help`, which is what a
process that does nothing takes. *Search*: in one process, of a hub that answers after `--delay` seconds: until the
first page is known, and until it is known of each model what fits. *Pull*: a model of so many weight files from a hub
on this machine, by `ft` and by `hf download`, each into an empty cache. *Doctor*: without `--prove`, and without
network. Every figure is the median of the rounds, of whole processes but for the search; the sides of a round take
turns.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from engine.models.search import Query, search, shapes  # noqa: E402 (needs the path above)
from tests.hub_server import Hub, serving, use_hub  # noqa: E402
from tests.tiny import make_tiny_model  # noqa: E402

FT = [sys.executable, "-P", "-m", "ft.cli"]
HF = [str(Path(sys.executable).with_name("hf")), "download"]
REPO = "acme/large"
PAGE = 20


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed ft is compiled once, not in every process
    with tempfile.TemporaryDirectory() as scratch:
        tiny = make_tiny_model(Path(scratch) / "tiny")
        listing(Path(scratch), tiny, asked.models, asked.rounds)
        searching(Path(scratch), tiny, asked.delay, asked.rounds)
        pulling(Path(scratch), tiny, asked.files, asked.megabytes, asked.rounds)


def listing(scratch: Path, tiny: Path, models: int, rounds: int) -> None:
    """Print the time of `ft models list` and `ft doctor`."""
    home = scratch / "home"
    for number in range(models):
        shutil.copytree(tiny, home / "models" / f"model-{number}")
    environment = {"FT_HOME": str(home), "HF_HOME": str(scratch / "hf"), "HF_HUB_OFFLINE": "1"}
    first = seconds([*FT, "models", "list"], environment)
    sides = {"ft models list": ["models", "list"], "ft --help": ["--help"], "ft doctor": ["doctor"]}
    taken = medians(
        {name: partial(seconds, [*FT, *words], environment) for name, words in sides.items()}, rounds
    )
    print(f"\n{models} models{'':24} seconds")
    print(f"{'ft models list, the first time':36} {first:7.2f}")
    for name, value in taken.items():
        print(f"{name:36} {value:7.2f}")


def searching(scratch: Path, tiny: Path, delay: float, rounds: int) -> None:
    """Print the time until a search shows its first page, and until it is full."""
    about = {"config": {"model_type": "llama"}, "gated": False, "downloads": 1, "likes": 1, "folder": tiny}
    listed = {f"acme/tiny-{number}": about for number in range(PAGE)}
    taken = []
    with serving(Hub(REPO, tiny, listed=listed, delay_s=delay)) as hub, pytest.MonkeyPatch.context() as patch:
        use_hub(hub.url, scratch, patch)
        for number in range(rounds):
            patch.setenv("FT_HOME", str(scratch / f"search-{number}"))  # where configs are kept
            before, began = len(hub.requests), time.perf_counter()
            models = search(Query("tiny", limit=PAGE))
            first, asked = time.perf_counter() - began, len(hub.requests) - before
            fits = [shape for _, shape in shapes(models)]
            if len(fits) != PAGE or None in fits:
                raise SystemExit("A model was not found, or its config did not come.")
            taken.append((first, time.perf_counter() - began, asked))
    page, full, asked = (statistics.median(values) for values in zip(*taken, strict=True))
    print(f"\n{PAGE} models of a hub that answers after {delay:g} s{'':3} seconds   requests")
    print(f"{'first page of a search':36} {page:7.2f} {asked:10.0f}")
    print(f"{'with what each fits':36} {full:7.2f}")


def pulling(scratch: Path, tiny: Path, files: int, megabytes: int, rounds: int) -> None:
    """Print the speed of fetching a model, by ft and by the hub's own client."""
    folder = shutil.copytree(tiny, scratch / "published")
    (folder / "model.safetensors").unlink()
    for number in range(files):
        weights = np.full((megabytes << 20) // 4, number, dtype=np.float32)
        save_file({f"w{number}": weights}, folder / f"model-{number + 1:05}-of-{files:05}.safetensors")
    index = {f"w{n}": f"model-{n + 1:05}-of-{files:05}.safetensors" for n in range(files)}
    (folder / "model.safetensors.index.json").write_text(
        str({"metadata": {}, "weight_map": index}).replace("'", '"')
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    with serving(Hub(REPO, folder)) as hub:

        def fetch(words: list[str]) -> float:
            with tempfile.TemporaryDirectory(dir=scratch) as place:
                environment = {
                    "HF_ENDPOINT": hub.url,
                    "HF_HUB_OFFLINE": "0",
                    "HF_HOME": place,
                    "FT_HOME": place,
                }
                return seconds(words, environment)

        sides = {"ft models pull": [*FT, "models", "pull", REPO], "hf download": [*HF, REPO]}
        taken = medians({name: partial(fetch, words) for name, words in sides.items()}, rounds)
    print(f"\n{size / 1e6:,.0f} MB in {files} weight files{'':10} seconds    MB/s")
    for name, value in taken.items():
        print(f"{name:36} {value:7.2f} {size / 1e6 / value:7.0f}")


def medians(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each side over rounds in which they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            taken[name].append(run())
    return {name: statistics.median(values) for name, values in taken.items()}


def seconds(command: list[str], environment: Mapping[str, str]) -> float:
    """Wall time of a process, which has to end well or with a finding (1)."""
    began = time.perf_counter()
    done = subprocess.run(command, env=os.environ | dict(environment), capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr.decode(errors="replace"))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
