"""The machine's load now, in a few lines that fit any panel."""

import math
from collections.abc import Iterator, Sequence

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from engine.hardware.sample import Gpu, Sample
from engine.units import LEVELS
from screens import format as show

BAR = 8
"""Columns of a bar, and of the history that stands for it where there is one."""
GAP = "   "
PROCESSES = 3
"""Processes on a GPU that are named."""
HIGH = 0.9
"""From this share of memory on, the bar says so."""


class MachinePanel(Widget):
    """GPU, CPU, memory, swap, pressure, disk, power and heat, each as far as the machine tells it."""

    DEFAULT_CSS = "MachinePanel { height: auto; min-height: 3; padding: 0 1; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.border_title = "machine"
        self._samples: Sequence[Sample] = ()

    def show(self, samples: Sequence[Sample]) -> None:
        """Show the last of these samples, oldest first, and the recent past of what moves."""
        taller = len(self._lines(samples)) != len(self._lines(self._samples))
        self._samples = samples
        self.refresh(layout=taller)

    def render(self) -> Text:
        return Text("\n").join(self._lines(self._samples)[: max(1, self.size.height)])

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self._lines(self._samples, width)))

    def _lines(self, samples: Sequence[Sample], width: int | None = None) -> list[Text]:
        if not samples:
            return [Text("sampling the machine …", "dim")]
        room = width or self.size.width or 60
        lines = []
        for parts in rows(samples):
            lines += wrapped(list(parts), room)
        return lines


def rows(samples: Sequence[Sample]) -> Iterator[Iterator[Text]]:
    """The panel's rows for the last of the samples, each a few parts; what is not known is left out."""
    now = samples[-1]
    for index, gpu in enumerate(now.gpus):
        uses = [sample.gpus[index].use for sample in samples if index < len(sample.gpus)]
        yield _gpu(gpu, uses, now.unified, str(index) if len(now.gpus) > 1 else "")
    yield _processor(now, [sample.cpu for sample in samples])
    yield _memory(now)
    yield _rest(now)


def _gpu(gpu: Gpu, uses: Sequence[float | None], unified: bool, number: str) -> Iterator[Text]:
    yield Text(f"GPU{number} ").append_text(_history(uses)).append(f" {show.percent(gpu.use):>5}")
    if gpu.temperature is not None:
        yield Text(f"{gpu.temperature:.0f} °C")
    if gpu.power is not None:
        yield Text(f"{gpu.power:.0f} W")
    if gpu.memory_used is not None:
        of = f" of {show.size(gpu.memory_total)}" if gpu.memory_total else ""
        yield Text(f"{show.size(gpu.memory_used)}{of}" + (" held" if unified else ""))
    yield Text(gpu.name, "dim")
    # Those that hold most: what else is on the GPU is often why a run does not fit.
    holders = sorted(gpu.processes, key=lambda process: -(process[1] or 0))
    for pid, held in holders[:PROCESSES]:
        yield Text(f"pid {pid}" + (f" {show.size(held)}" if held is not None else ""))
    if len(holders) > PROCESSES:
        yield Text(f"+{len(holders) - PROCESSES} more", "dim")


def _processor(now: Sample, uses: Sequence[float | None]) -> Iterator[Text]:
    yield Text("CPU ").append_text(_history(uses)).append(f" {show.percent(now.cpu):>5}")
    if now.temperature is not None:
        yield Text(f"{now.temperature:.0f} °C")
    if now.power is not None:
        yield Text(f"{now.power:.0f} W total")
    if now.engine_cpu is not None:
        yield Text(f"engine {now.engine_cpu:.1f} cores")


def _memory(now: Sample) -> Iterator[Text]:
    if now.memory_used is None or not now.memory_total:
        return
    share = now.memory_used / now.memory_total
    line = (
        Text("RAM " if not now.unified else "mem ")
        .append_text(bar(share))
        .append(f" {show.percent(share):>5}")
    )
    yield line
    kind = " unified" if now.unified else ""
    yield Text(f"{show.size(now.memory_used)} of {show.size(now.memory_total)}{kind}")
    if now.engine_bytes is not None:
        yield Text(f"engine {show.size(now.engine_bytes)}")
    if now.wired is not None:
        yield Text(f"wired {show.size(now.wired)}")
    if now.compressed is not None:
        yield Text(f"compressed {show.size(now.compressed)}")


def _rest(now: Sample) -> Iterator[Text]:
    if now.swap_used is not None:
        none = not now.swap_total and not now.unified  # a Mac makes swap files when it needs them
        yield Text("no swap" if none else f"swap {show.size(now.swap_used)}")
    if now.pressure is not None:
        calm = now.pressure == "normal"
        yield Text(f"pressure {now.pressure}" + ("" if calm else " !"), "" if calm else "bold")
    if now.disk_free is not None:
        yield Text(f"disk {show.size(now.disk_free)} free")


def bar(share: float, width: int = BAR) -> Text:
    """A share from 0 to 1 as a bar with eighths of a column; bold with a mark where it is high."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text(drawn.ljust(width, "·"), "bold" if share >= HIGH else "")


def _history(shares: Sequence[float | None], width: int = BAR) -> Text:
    """The last shares, a column each from 0 to 1; a blank where nothing is known."""
    last = shares[-width:]
    top = len(LEVELS) - 1
    drawn = "".join(
        " " if share is None or not math.isfinite(share) else LEVELS[round(min(max(share, 0.0), 1.0) * top)]
        for share in last
    )
    return Text(drawn.rjust(width))


def wrapped(parts: list[Text], width: int) -> list[Text]:
    """Parts side by side, on further indented lines where they do not fit."""
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + len(GAP) + len(part) <= width:
            lines[-1].append(GAP).append_text(part)
        else:
            line = Text("    " if lines else "", no_wrap=True, overflow="ellipsis").append_text(part)
            lines.append(line)
    return lines
