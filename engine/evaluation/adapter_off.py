"""A model with its adapter on or off, held against the mistake of taking one's answers for the other's."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np

from engine.backends.base import Model
from engine.data.types import Batch, Float32
from engine.errors import ConfigError, ModelError

SAME = "It would be the other model's answers: this is a mistake of ft's; please report it with the run's worker.log."


@contextmanager
def adapter_off(model: Model, probe: Batch) -> Iterator[None]:
    """The model without its adapter, for the length of the block; `probe`, some rows, is scored around and in it.

    Raises ModelError where the adapter changes nothing on those rows, is on again before the block ends, or is not on
    after it; ConfigError where this model's adapter cannot be turned off.
    """
    tuned = model.logps(probe)
    with model.without_adapter():
        base = model.logps(probe)
        if np.array_equal(base, tuned):
            raise ModelError(
                "With the adapter and without it, the log-probabilities of these rows are the same in every bit.",
                "Either nothing was learned, or the adapter was not turned off; there is nothing to compare.",
            )
        yield
        if not _nearer(model.logps(probe), base, tuned):
            raise ModelError("The adapter came on again while the base was measured.", SAME)
    if not _nearer(model.logps(probe), tuned, base):
        raise ModelError("The adapter did not come on again after the base was measured.", SAME)


@contextmanager
def adapter_on(model: Model, probe: Batch) -> Iterator[None]:
    """The model with its adapter, for the length of the block; on `probe`, it has to change something before and after.

    Raises ModelError where it does not. An adapter that cannot be turned off is on: nothing is tried then.
    """
    _require_on(model, probe)
    yield
    _require_on(model, probe)


def _require_on(model: Model, probe: Batch) -> None:
    with ExitStack() as off, suppress(ConfigError):
        off.enter_context(adapter_off(model, probe))


def _nearer(found: Float32, expected: Float32, other: Float32) -> bool:
    """Return True if log-probabilities are those expected; on a GPU, sums may be taken in another order."""
    return bool(np.abs(found - expected).sum() < np.abs(found - other).sum())
