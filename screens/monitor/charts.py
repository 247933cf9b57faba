"""Monitor's charts: five of a run or of the machine, and one more for each metric that the run reports."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.containers import VerticalScroll

from engine.hardware.sample import Sample
from engine.metrics.base import Metric
from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.curves.downsample import Series
from engine.runs.curves.series import EVAL, AxisName
from screens import format as show
from screens.charts.widget import Chart, ChartMark, Level, Line
from screens.monitor.run_view import RunView
from screens.themes import SERIES

PLACES = ("first", "memory", "second", "third", "fourth")
"""Ids of the charts; a wide screen shows all of them."""
FAR = 4
"""A limit is drawn as a line up to this many times what the plan says; above it is a word."""
EMPTY = "Comes with the first steps."
SOON = "The first figures come in a second."
SIGNS = {"best": "◆", "checkpoint": "▲", "resumed": "↻"}


@dataclass(frozen=True)
class Options:
    """Options of the charts. `smoothing` is the weight of the past, 0 to 1."""

    axis: AxisName = "step"
    smoothing: float = 0.9
    log: bool = False


class MachineSeries:
    """The machine's samples as lines over seconds, of as long as the app has looked."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._last: float | None = None
        self.lines: dict[str, Series] = {}
        self.total: int | None = None
        self.gpu_total: int | None = None

    def take(self, sample: Sample) -> None:
        """Add a sample, unless it is there already."""
        if self._last is not None and sample.t <= self._last:
            return
        self._start = sample.t if self._start is None else self._start
        self._last = sample.t
        self.total = sample.memory_total or self.total
        gpu = sample.gpus[0] if sample.gpus else None
        if gpu is not None and gpu.memory_total:
            self.gpu_total = gpu.memory_total
        values = {
            "CPU": sample.cpu,
            "memory": sample.memory_used,
            "swap": sample.swap_used if sample.swap_total or sample.swap_used else None,
            "CPU °C": sample.temperature,
            "all W": sample.power,
            "GPU": gpu.use if gpu else None,
            "GPU memory": gpu.memory_used if gpu else None,
            "GPU °C": gpu.temperature if gpu else None,
            "GPU W": gpu.power if gpu else None,
        }
        for name, value in values.items():
            if value is not None:
                scaled = value * 100 if name in ("CPU", "GPU") else float(value)
                self.lines.setdefault(name, Series()).append(sample.t - self._start, scaled)

    def some(self, *names: str) -> list[Line]:
        """The lines of these names that the machine has given anything for."""
        return [
            Line(name, self.lines[name], SERIES[index], "smooth")
            for index, name in enumerate(names)
            if name in self.lines
        ]


class RunCharts:
    """Sets the charts' lines to a run's; only those that have changed, since lines grow by themselves."""

    def __init__(self) -> None:
        self._given: object = None
        self._marked: object = None

    def draw(self, view: RunView, charts: Sequence[Chart], options: Options) -> None:
        """Let the charts show a run as it is now."""
        memory = _memory_lines(view, options)
        given = (id(view.series), view.series.looks, options, view.plan, [line.label for line in memory])
        if given != self._given:
            self._given = given
            _give_lines(view, charts, options)
            charts[1].set_lines(memory)
            charts[1].set_levels(_levels(view))
            charts[1].note = (
                f"limit {show.size(view.plan.limit_bytes)}" if _limit_is_far(view) and view.plan else ""
            )
        marked = (given, view.state.best_step, len(view.series.marks))
        if marked != self._marked:
            self._marked = marked
            charts[0].set_marks(_marks(view, options))
        for chart in charts:
            chart.call_next(chart.redraw)  # each in a turn of its own, between which keys are heard

    def forget(self) -> None:
        """The charts have been given something else."""
        self._given = self._marked = None


def _give_lines(view: RunView, charts: Sequence[Chart], options: Options) -> None:
    first, memory, second, third, fourth = charts
    loss, evals = _series(view, "loss", options), _series(view, EVAL_LOSS, options)
    title = describe(EVAL_LOSS).title
    first.set_lines([*_banded("train", loss, options, 0), Line(title, evals, SERIES[1], "points")])
    second.set_lines([Line("lr", _series(view, "lr", options), SERIES[4], "smooth")])
    third.set_lines(_banded("norm", _series(view, "grad_norm", options), options, 3))
    fourth.set_lines(_banded("tokens/s", _series(view, "tokens_per_s", options), options, 2))
    first.log_axis = third.log_axis = options.log
    first.note = f"ema {options.smoothing:g}" if options.smoothing else ""
    titles = ("loss", "memory", "learning rate", "gradient norm", "tokens/s")
    formatters = (None, show.size, _exponent, None, show.short_count)
    for chart, title, formatter in zip(charts, titles, formatters, strict=True):
        chart.title, chart.formatter, chart.axis_label = title, formatter, options.axis
        chart.from_zero = chart in (memory, fourth)
        chart.empty = EMPTY
        chart.set_class(False, "-absent")


class MetricCharts(VerticalScroll):
    """A chart for each metric that a run's steps or evaluations report, mounted when it comes first."""

    DEFAULT_CSS = "MetricCharts { height: 1fr; } MetricCharts Chart { height: 8; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._charts: dict[str, Chart] = {}
        self._given: object = None

    @property
    def charts(self) -> list[Chart]:
        """Those that are mounted, in the order in which their metrics came."""
        return list(self._charts.values())

    def forget(self) -> None:
        """Another run is shown."""
        for chart in self._charts.values():
            chart.remove()
        self._charts, self._given = {}, None

    def show(self, view: RunView, options: Options) -> bool:
        """Draw a run's metrics as they are now; returns True if it has reported any."""
        series = view.series
        names = list(dict.fromkeys([*series.step_metrics, *series.eval_metrics]))
        for name in names:
            if name not in self._charts:
                self._charts[name] = Chart(describe(name).title)
                self.mount(self._charts[name])
        given = (id(series), series.looks, options, [*series.step_metrics], [*series.eval_metrics])
        if given != self._given:
            self._given = given
            for name in names:
                self._give(self._charts[name], describe(name), view, options)
        for chart in self._charts.values():
            chart.call_next(chart.redraw)
        return bool(names)

    def _give(self, chart: Chart, metric: Metric, view: RunView, options: Options) -> None:
        lines = []
        if metric.name in view.series.step_metrics:
            lines += _banded("train", _series(view, metric.name, options), options, 0)
        if metric.name in view.series.eval_metrics:
            found = _series(view, EVAL + metric.name, options)
            lines.append(Line("validation", found, SERIES[1], "points"))
        chart.set_lines(lines)
        chart.formatter = _percent if metric.format == "percent" else None
        chart.axis_label, chart.empty = options.axis, EMPTY


def draw_machine(machine: MachineSeries, charts: Sequence[Chart]) -> bool:
    """Give the charts the machine's lines, as they are now; returns whether there is any for the last three.

    Those of what this machine does not tell get the class -absent, and one of the others fills their room.
    """
    first, memory, second, third, fourth = charts
    first.set_lines(machine.some("CPU", "GPU"))
    memory.set_lines(machine.some("memory", "GPU memory"))
    levels = [("limit", machine.total), ("GPU limit", machine.gpu_total)]
    memory.set_levels([Level(label, float(total), "limit") for label, total in levels if total])
    second.set_lines(machine.some("CPU °C", "GPU °C"))
    third.set_lines(machine.some("all W", "GPU W"))
    fourth.set_lines(machine.some("swap"))
    titles = ("CPU and GPU use, %", "memory", "temperature, °C", "power, W", "swap")
    for chart, title in zip(charts, titles, strict=True):
        chart.title, chart.note, chart.axis_label, chart.log_axis = title, "", "time", False
        chart.formatter = show.size if chart in (memory, fourth) else _plain
        chart.from_zero, chart.empty = True, SOON
        chart.set_marks([])
        chart.set_class(not chart.lines, "-absent")
    told = [chart for chart in charts[2:] if chart.lines]
    for chart in charts[2:]:
        chart.set_class(chart in told[:1] and len(told) == 2, "-over2")
        chart.set_class(chart in told[:1] and len(told) == 1, "-over3")
    return bool(told)


def _memory_lines(view: RunView, options: Options) -> list[Line]:
    """Lines of the training's memory: the device's first, where it trains on one."""
    on_device = view.plan is not None and view.plan.device != "cpu"
    names = ("device_bytes", "process_bytes") if on_device else ("process_bytes", "device_bytes")
    found = [(name, _series(view, name, options)) for name in names]
    return [
        Line("GPU" if name == "device_bytes" else "engine", series, SERIES[index], "smooth")
        for index, (name, series) in enumerate(found)
        if series.bounds() is not None
    ]


def _levels(view: RunView) -> list[Level]:
    """The plan's prediction and the machine's limit; a limit far above would press all else to the floor."""
    if view.plan is None:
        return []
    levels = [Level("plan", float(view.plan.memory.peak_bytes), "plan")]
    return levels if _limit_is_far(view) else [Level("limit", float(view.plan.limit_bytes), "limit"), *levels]


def _limit_is_far(view: RunView) -> bool:
    return view.plan is not None and view.plan.limit_bytes > FAR * view.plan.memory.peak_bytes


def _series(view: RunView, name: str, options: Options) -> Series:
    return view.series.series(name, options.axis)


def _banded(label: str, series: Series, options: Options, colour: int) -> list[Line]:
    """The raw values as a dim band, and the smoothed ones bright."""
    if options.smoothing <= 0:
        return [Line(label, series, SERIES[colour], "smooth")]
    return [
        Line(label, series, SERIES[colour], "raw"),
        Line(label, series.smoothed(options.smoothing), SERIES[colour], "smooth"),
    ]


def _marks(view: RunView, options: Options) -> list[ChartMark]:
    """Marks of the best evaluation, of checkpoints and of resumes, where they lie on the axis.

    The best one stands on the curve of the validation loss, whatever metric makes it the best.
    """
    marks = []
    for mark in view.series.marks:
        x = view.series.position(mark.step, options.axis) if mark.kind in SIGNS else None
        if x is not None:
            best = mark.kind == "best" and mark.step == view.state.best_step
            marks.append(ChartMark(x, SIGNS[mark.kind], mark.label, view.loss_of_best if best else None))
    return marks


def _exponent(value: float | None) -> str:
    return show.MISSING if value is None else f"{value:.1e}" if value else "0"


def _percent(value: float | None) -> str:
    return show.MISSING if value is None else f"{value:.0%}"


def _plain(value: float | None) -> str:
    return show.MISSING if value is None else f"{value:.0f}"
