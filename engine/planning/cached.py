"""Plans while somebody types: what took long to read is cached until the file that it was read from changes."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from engine.models.shape import ModelShape
from engine.models.sizing import shape_of
from engine.planning.backend_choice import choose_backend
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.row_stats import RowStats

FRESH_S = 2.0
"""Seconds for which a probe of the machine is fresh, its free memory too: probing costs more than the plan itself."""
STALE_S = 20.0
"""Seconds for which it still serves one more plan, while the machine is probed again for the next."""
CACHED_SAMPLES = 16
"""Samples of rows that are cached: a person goes back and forth between a few values."""


FindStart = Callable[[TrainConfig], SavedAdapter | None]


def _no_start(config: TrainConfig) -> None:
    """Find no adapter: nobody knows of runs."""


@dataclass(frozen=True)
class SampledRows:
    """Statistics of a sample of the rows, and the length limit under which it was taken."""

    limit: int
    """Most tokens of a row."""
    rows: RowStats

    def holds(self, limit: int) -> bool:
        """Return True if the sample would be the same under another limit: neither cuts a row."""
        longest = self.rows.longest
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
        self._samples: OrderedDict[tuple[str, int], SampledRows] = OrderedDict()

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
        rows = self._sample(config, folder, encoder).rows
        machine, shape = self._probed(), self._shape(folder)
        return make_plan(config, machine, choose_backend(machine, config, shape), shape, rows, start=start)

    def _probed(self) -> Machine:
        now = time.monotonic()
        age = math.inf if self._machine is None else now - self._machine[0]
        if self._machine is None or age > STALE_S:
            self._machine = now, probe()
        elif age > FRESH_S and (self._probing is None or not self._probing.is_alive()):
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

    def _sample(self, config: TrainConfig, folder: Path, encoder: RowEncoder) -> SampledRows:
        limit = Limit.of(config.model.max_seq_length, encoder.room).tokens
        spec = TokenSpec.of(config).encoding()
        sources = resolve(config.data, recent=self._recent)
        read = [*map(stamp, sources.paths), *spec.stamps(folder)]
        key = repr((config.data.model_dump_json(), spec, config.seed, read))
        cached = (at for at, one in self._samples.items() if at[0] == key and one.holds(limit))
        if (found := next(cached, None)) is None:
            dataset, total = sample(config, folder, encoder=encoder, sources=sources)
            if not len(dataset.train.tokens):
                raise DataError("no training rows are left", "Give more rows, or raise model.max_seq_length.")
            found = key, limit
            self._samples[found] = SampledRows(limit, RowStats.of(dataset.train, total))
        self._samples.move_to_end(found)
        while len(self._samples) > CACHED_SAMPLES:
            self._samples.popitem(last=False)
        return self._samples[found]
