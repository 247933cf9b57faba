"""ft connects to nobody but the hub that it is told to ask: seen by an audit hook in every process that it starts."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hub_server import Hub, serving
from tests.training import recipe_text, write_rows

pytestmark = pytest.mark.slow
REPO = "someone/tiny-llama"
HOOK = """
import os, sys

def note(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[:2]
    else:
        return
    if isinstance(address, tuple):  # a string is a socket in the file system
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(f"{address[0]} {address[1]} {' '.join(sys.argv[:3])}\\n")

sys.addaudithook(note)
"""


def test_pull_train_and_doctor_connect_to_the_hub_alone(tiny_model: Path, tmp_path: Path) -> None:
    """Commands, the engine and what it imports: sitecustomize is the first thing that each Python process runs."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    seen = tmp_path / "connections"
    with serving(Hub(REPO, tiny_model)) as hub:
        environment = {
            **os.environ,
            "PYTHONPATH": str(tmp_path / "hook"),
            "CONNECTIONS": str(seen),
            "FT_HOME": str(tmp_path / "home"),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
        }
        text = recipe_text(Path(REPO), write_rows(tmp_path), training={"max_steps": 1})
        (tmp_path / "train.yml").write_text(text)
        for words in (
            ["models", "pull", REPO],
            ["train", str(tmp_path / "train.yml")],
            ["doctor", "--json"],
            ["runs", "list"],
        ):
            done = subprocess.run(
                [sys.executable, "-P", "-m", "ft.cli", *words],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (words, done.stderr)
        own = urlsplit(hub.url)
        hosts = {tuple(line.split()[:2]) for line in seen.read_text().splitlines()}
        assert (own.hostname, str(own.port)) in hosts, "the hook sees what there is"
        assert hosts == {(own.hostname, str(own.port))}
        assert any("worker" in line for line in seen.read_text().splitlines()), "in the engine too"
        assert not [token for token in hub.tokens if token], "and no token was there to be sent"
