"""What the hub says of a model, with its config.json: enough to judge it before a byte of weights is fetched."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import paths, secrets
from engine.errors import ModelError
from engine.models import hub
from engine.models.card import Card, card_without_weights
from engine.models.starter import silent

CONFIG = "config.json"
SMALL = (CONFIG, "tokenizer_config.json", "chat_template.jinja")
"""Files that say what a model is; together some kilobytes."""


@dataclass(frozen=True)
class HubModel:
    """A model as the hub describes it."""

    name: str
    revision: str
    """Its commit."""
    licence: str | None
    gated: bool
    """Its terms have to be accepted on the hub before its files can be fetched."""
    files: Mapping[str, int]
    """Bytes of each file that `ft models pull` fetches."""
    others: int
    """Number of files that are not fetched: other formats of the same weights, pictures."""
    folder: Path
    """Its config and template, without weights."""

    @property
    def bytes(self) -> int:
        """Size of what would be fetched."""
        return sum(self.files.values())

    def card(self) -> Card:
        """The model for people. Raises ModelError where its config does not tell its shape."""
        return card_without_weights(self.folder, self.licence)


def ask(repo: str, revision: str | None = None) -> HubModel:
    """Facts of a hub model, which need not be on this disk.

    Raises HubError where the hub can't be reached or says no (a gated model without access among it), ModelError where
    the repository has no config.json.
    """
    from huggingface_hub import HfApi, hf_hub_download

    token = secrets.get(secrets.HF_TOKEN)
    with hub.explained(repo, revision):
        about = HfApi().model_info(repo, revision=revision, files_metadata=True, token=token)
        sizes = {file.rfilename: file.size or 0 for file in about.siblings or ()}
        if CONFIG not in sizes:
            raise _no_config(repo, sizes)
        folder = Path()
        for name in (name for name in SMALL if name in sizes):
            found = hf_hub_download(
                repo,
                name,
                revision=about.sha,
                token=token,
                cache_dir=paths.cache() / "hub-facts",
                tqdm_class=hub.client_bar(repo, silent),
            )
            folder = Path(found).parent
    fetched = hub.wanted(sizes)
    return HubModel(
        name=repo,
        revision=about.sha or folder.name,
        licence=_licence(about),
        gated=bool(about.gated),
        files={name: sizes[name] for name in fetched},
        others=len(sizes) - len(fetched),
        folder=folder,
    )


def _licence(about: Any) -> str | None:
    """The licence of the model card; its name where the card says `other`."""
    card = about.card_data
    licence = getattr(card, "license", None)
    named = getattr(card, "license_name", None) if licence == "other" else None
    return named or licence


def _no_config(repo: str, files: Mapping[str, int]) -> ModelError:
    if any(name.endswith(".gguf") for name in files):
        return ModelError(
            f"{repo} has GGUF files alone; training from GGUF files is not supported yet.",
            "Choose the model that they were made from; its card names it.",
        )
    if "adapter_config.json" in files:
        return ModelError(f"{repo} is an adapter, not a whole model.", "Choose its base; its card names it.")
    return ModelError(
        f"{repo} has no config.json: it is no model of transformers.", "Choose another repository."
    )
