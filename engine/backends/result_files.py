"""Files beside a result's weights, by which other programs use it as trained: tokenizer, template, end tokens, base.

The backends write weights; this is put beside them, the same for every backend.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.backends.files import copy_tokenizer_files, write_json
from engine.data.tokenization.template_lookup import DEFAULT, own_texts
from engine.data.tokenization.tokenizer import Tokenizer
from engine.models.adapter_files import CONFIG
from engine.models.local import MORE_TEMPLATES, TEMPLATE, TOKENIZER_FILES, read_config, read_object
from engine.models.published import PublishedBase

GENERATION, TOKENIZER, PROCESSOR = "generation_config.json", "tokenizer_config.json", "chat_template.json"
"""`chat_template.json` is where older releases of transformers had the template of a model that sees."""
ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class ResultFiles:
    """Files beside the weights of a run's adapter or model."""

    source: Path
    """The base model's folder."""
    base: PublishedBase
    tokenizer: Tokenizer

    def complete(self, folder: Path) -> None:
        """Put everything beside the weights in `folder`. Done again, it changes nothing."""
        if (folder / CONFIG).is_file():
            self._name_base(folder / CONFIG)
            copy_tokenizer_files(self.source, folder, TOKENIZER_FILES)
        else:
            copy_tokenizer_files(self.source, folder)
            self._add_end_tokens(folder)
        settings = read_object(self.source / TOKENIZER) if (self.source / TOKENIZER).is_file() else {}
        if self.tokenizer.delivered != own_texts(self.source, settings):
            self._write_templates(folder)

    def _name_base(self, path: Path) -> None:
        write_json(
            path,
            read_object(path) | {"base_model_name_or_path": self.base.name, "revision": self.base.revision},
        )

    def _write_templates(self, folder: Path) -> None:
        """The templates that were trained wherever the source has some, so that no program finds others."""
        texts = self.tokenizer.delivered
        shutil.rmtree(folder / MORE_TEMPLATES, ignore_errors=True)
        for name, text in texts.items():
            file = folder / TEMPLATE if name == DEFAULT else folder / MORE_TEMPLATES / f"{name}.jinja"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        named = [{"name": name, "template": text} for name, text in texts.items()]
        values = {TOKENIZER: texts[DEFAULT] if len(texts) == 1 else named, PROCESSOR: texts.get(DEFAULT)}
        for name, value in values.items():
            path = folder / name
            if path.is_file() and "chat_template" in (settings := read_object(path)):
                _write(path, settings | {"chat_template": value})

    def _add_end_tokens(self, folder: Path) -> None:
        """Let other programs stop where the model was taught to: at every end token that ft itself stops at."""
        path = folder / GENERATION
        if path.is_file():
            settings = read_object(path)
        else:
            config = read_config(self.source)
            settings = {name: config[name] for name in ENDS if config.get(name) is not None}
        named = settings.get("eos_token_id")
        known = [] if named is None else named if isinstance(named, list) else [named]
        missing = sorted(self.tokenizer.stop_ids.difference(known))
        if missing:
            _write(path, settings | {"eos_token_id": [*known, *missing]})


def _write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
