"""A server of a tiny model inside the test's process: the real batch, real HTTP on a free port, the real client."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from engine.serving.app import Service, make_app
from engine.serving.batch import Batch
from engine.serving.guard import Door
from engine.serving.http import HttpThread, bind, url_of
from engine.serving.loading import Loaded, Wish


@dataclass
class Server:
    """A server that answers."""

    url: str
    service: Service
    batch: Batch
    loaded: Loaded
    stop: threading.Event

    @property
    def client(self) -> openai.OpenAI:
        """OpenAI's own client, which retries nothing."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """The answer to a body, as JSON or as it is."""
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        return httpx.post(f"{self.url}{path}", timeout=60, **given, **more)


@contextmanager
def serving(
    model: Path | str,
    adapters: Mapping[str, Path] | None = None,
    *,
    name: str | None = "tiny",
    slots: int = 4,
    queue: int = 64,
    grace_s: float = 5.0,
    most_prompt: int = 400,
    door: Door | None = None,
) -> Iterator[Server]:
    """Serve a model's folder, and adapters on it by name, for the length of the block."""
    wish = Wish.of(str(model), {own: str(folder) for own, folder in (adapters or {}).items()}, name)
    loaded = wish.load()
    batch, stop = Batch(loaded.model, slots, queue), threading.Event()
    service = Service(most_prompt, loaded.catalogue, batch)
    bound = bind("127.0.0.1", 0)
    http = HttpThread(make_app(service, door or Door()), bound)
    url = url_of(bound)
    thread = threading.Thread(target=batch.run, args=(stop.is_set, grace_s), daemon=True)
    http.start()
    thread.start()
    try:
        yield Server(url, service, batch, loaded, stop)
    finally:
        stop.set()
        thread.join(20)
        http.stop()
        assert not thread.is_alive(), "the batch has not ended"


def make_adapter(model: Path, folder: Path, seed: int, **settings: Any) -> Path:
    """Write a LoRA adapter on a model's folder whose weights are drawn with `seed`, large enough to change answers."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    given = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    made = peft.get_peft_model(base, peft.LoraConfig(**given))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if ".lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.3)
    made.save_pretrained(folder, save_embedding_layers=False)
    return folder
