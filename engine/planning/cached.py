"""Plans while somebody types: what took long to read is kept until the file that it was read from changes."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.config.load import load_text
from engine.config.schema import TrainConfig
from engine.data.prepare import sample
from engine.data.sources.resolve import RecentFetches, away, everything, resolve, shown
from engine.data.token_spec import Stamp, TokenSpec, stamp
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.token_limits import Limit, check_samples
from engine.errors import DataError
from engine.hardware.probe import Machine, probe
from engine.models.resolve import on_disk
from engine.models.saved_adapter import SavedAdapter, adopted
from engine.models.sizing import ModelShape, shape_of
from engine.planning.choices import Lengths
from engine.planning.plan import Plan, make_plan

MACHINE_S = 2.0
"""How long what was seen of the machine is new, its free memory too: looking costs more than the plan itself."""
OLD_S = 20.0
"""How long it still holds for one more plan, while it is looked at again for the next."""
KEPT = 16
"""Looks at data that are kept: a person goes back and forth between a few values."""


FindStart = Callable[[TrainConfig], SavedAdapter | None]


def _no_start(config: TrainConfig) -> None:
    """Where nobody knows of runs."""


@dataclass(frozen=True)
class SampledRows:
    """What was seen of the data."""

    limit: int
    """Most tokens of a row when it was seen."""
    lengths: Lengths
    """Tokens of the sampled rows, int64 `[count]`."""
    share: float
    """How much of them is trained."""
    rows: int
    """How many rows there are in all."""

    def holds(self, limit: int) -> bool:
        """Whether it looks the same under another limit: neither cuts a row."""
        longest = int(self.lengths.max())
        return limit == self.limit or (longest < self.limit and longest <= limit)


class CachedPlanner:
    """Plans recipes again and again in one process, quicker than `engine.planning.estimate` and to the same plan."""

    def __init__(self, find_start: FindStart = _no_start) -> None:
        """`find_start` gives the adapter that a recipe's `adapter.from` names."""
        self._find_start = find_start
        self._recent = RecentFetches()
        self._machine: tuple[float, Machine] | None = None
        self._probing: threading.Thread | None = None
        self._shapes: dict[Stamp, ModelShape] = {}
        self._encoder: tuple[object, RowEncoder] | None = None
        self._looks: OrderedDict[tuple[str, int], SampledRows] = OrderedDict()

    def plan(self, text: str, path: Path) -> Plan:
        """The plan of a recipe's text that stands, or would stand, at `path`.

        Nothing is downloaded: a model of the hub has to be on this disk. Raises RecipeError with every problem
        of the text, and what planning raises.
        """
        config = load_text(text, path).config
        start = self._find_start(config)
        config = adopted(config, start)
        folder = on_disk(config.model.base, config.model.revision)
        for source, part in everything(config.data):
            if away(source, part):
                raise DataError(
                    f"{shown(source)} is not on this machine yet.", "A run or `ft plan` fetches it."
                )
        if start is not None:
            start.check(folder)
        encoder = self._encoder_of(config, folder)
        check_samples(config, encoder.tokenizer, encoder.room)
        look = self._look(config, folder, encoder)
        return make_plan(
            config,
            self._probed(),
            self._shape(folder),
            look.lengths,
            look.share,
            sampled=look.rows > len(look.lengths),
            examples=look.rows,
            start=start,
        )

    def _probed(self) -> Machine:
        now = time.monotonic()
        age = math.inf if self._machine is None else now - self._machine[0]
        if self._machine is None or age > OLD_S:
            self._machine = now, probe()
        elif age > MACHINE_S and (self._probing is None or not self._probing.is_alive()):
            self._probing = threading.Thread(target=self._probe_again, name="probe", daemon=True)
            self._probing.start()
        return self._machine[1]

    def _probe_again(self) -> None:
        self._machine = time.monotonic(), probe()

    def _encoder_of(self, config: TrainConfig, folder: Path) -> RowEncoder:
        spec = TokenSpec.of(config).encoding()
        key = (folder, spec, spec.stamps(folder))
        if self._encoder is None or self._encoder[0] != key:
            self._encoder = key, spec.encoder(folder)
        return self._encoder[1]

    def _shape(self, folder: Path) -> ModelShape:
        seen = stamp(folder / "config.json")
        if seen not in self._shapes:
            self._shapes[seen] = shape_of(folder)
        return self._shapes[seen]

    def _look(self, config: TrainConfig, folder: Path, encoder: RowEncoder) -> SampledRows:
        limit = Limit.of(config.model.max_seq_length, encoder.room).tokens
        spec = TokenSpec.of(config).encoding()
        sources = resolve(config.data, recent=self._recent)
        read = [*map(stamp, sources.paths), *spec.stamps(folder)]
        asked = (config.data.model_dump_json(), spec, config.seed, read)
        key = repr(asked)
        known = (kept for kept, look in self._looks.items() if kept[0] == key and look.holds(limit))
        if (found := next(known, None)) is None:
            dataset, rows = sample(config, folder, encoder=encoder, sources=sources)
            lengths = dataset.train.lengths.astype(np.int64)
            tokens = int(lengths.sum())
            if not tokens:
                raise DataError("no training rows are left", "Give more rows, or raise model.max_seq_length.")
            found = key, limit
            self._looks[found] = SampledRows(limit, lengths, dataset.train.trained_tokens / tokens, rows)
        self._looks.move_to_end(found)
        while len(self._looks) > KEPT:
            self._looks.popitem(last=False)
        return self._looks[found]
