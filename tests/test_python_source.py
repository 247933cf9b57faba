"""Python source parsed by several threads, as the app's are."""

import gc
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine import python_source
from engine.config import sections


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads change in the middle of a parse: at every visit of the cycle collector, which comes often."""

    def give_way(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(50)
    gc.callbacks.append(give_way)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.callbacks.remove(give_way)
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("switching")
def test_threads_parse_source_simultaneously() -> None:
    """None of them is told of another's depth, which CPython before 3.11.8 mixes up."""
    source, failures = inspect.getsource(sections), list[BaseException]()

    def at_depth(depth: int, work: Callable[[], None]) -> None:
        at_depth(depth - 1, work) if depth else work()

    def work() -> None:
        try:
            for _ in range(20):
                assert len(python_source.parse(source).body) > 10
                assert python_source.literal("{'a': ['b', ('c', 1)]}") == {"a": ["b", ("c", 1)]}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=at_depth, args=(depth, work)) for depth in (1, 20, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
