"""Time of a frame of a chart of 100k points, and of a new point, beside textual-plotext and textual-plot.

    .venv/bin/python benchmarks/chart.py [--points 100000] [--rounds 5]

The others are installed into a temporary virtual environment, never into the project's. Every chart draws the
same noisy loss at 120 by 30 cells, as one line, in the app's own process without a terminal. A frame is what the
widget does to have its text ready after its data has changed; a new point is that point taken in, and a frame.
Times are of the process (CPU), the rounds of all go in turn, and the best of each is told: other work on the
machine only ever adds time.
"""

import argparse
import asyncio
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
SIZE = (120, 30)
OTHERS = {
    "textual-plotext": ["textual-plotext==1.0.1", "plotext==5.3.2"],
    "textual-plot": ["textual-plot==0.10.1"],
}
Times = dict[str, float]


def losses(points: int) -> list[float]:
    """A loss as of training: falling, with noise."""
    random = Random(0)
    return [1 + 2 * math.exp(-5 * i / points) + random.gauss(0, 0.1) for i in range(points)]


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


async def ours(ys: list[float]) -> Times:
    sys.path.insert(0, str(ROOT))
    from textual.app import App

    from engine.runs.curves.downsample import Series
    from screens.charts.trace import Tracer
    from screens.charts.widget import Chart, Line

    series = Series(capacity=1 << 18)  # so that all points are kept, as the others keep them
    fill = timed(lambda: [series.append(i, y) for i, y in enumerate(ys)])
    app: App[None] = App()
    async with app.run_test(size=SIZE) as pilot:
        chart = Chart("loss")
        await app.mount(chart)
        await pilot.pause()
        assert chart.size == SIZE
        chart.set_lines([Line("train", series, "#56b4e9")])
        rows = chart.size.region

        def frame() -> None:
            """All of it, as if nothing of the frame before were known."""
            before, chart._tracer, chart._seen, chart._drawn = chart._frame, Tracer(), None, None
            chart.refresh()
            chart.render_lines(rows)
            assert chart._frame is not before

        def point() -> None:
            before = chart._frame
            series.append(len(series), 1.0)
            chart.redraw()
            chart.render_lines(rows)
            assert chart._frame is not before

        frame()
        drawn, new = min(timed(frame) for _ in range(20)), min(timed(point) for _ in range(20))
        smooth = timed(lambda: series.smoothed(0.9))
    return {"frame": drawn, "point": new, "append": fill / len(ys) * 1000, "smooth": smooth}


async def plotext(ys: list[float]) -> Times:
    from textual.app import App
    from textual_plotext import PlotextPlot

    app, xs, ys = App(), list(range(len(ys))), list(ys)
    async with app.run_test(size=SIZE) as pilot:
        widget = PlotextPlot()
        await app.mount(widget)
        await pilot.pause()
        assert widget.size == SIZE

        def show() -> None:
            widget.plt.clear_data()
            widget.plt.plot(xs, ys, marker="braille")

        def point() -> None:
            xs.append(len(xs))
            ys.append(1.0)
            show()
            widget.render()

        show()
        return {"frame": min(timed(widget.render) for _ in range(2)), "point": timed(point)}


async def plot(ys: list[float]) -> Times:
    import numpy as np
    from textual.app import App
    from textual_plot import HiResMode, PlotWidget

    app, values = App(), np.asarray(ys)
    async with app.run_test(size=SIZE) as pilot:
        widget = PlotWidget()
        await app.mount(widget)
        await pilot.pause()
        assert widget.size == SIZE

        def show() -> None:
            widget.clear()
            widget.plot(np.arange(len(values)), values, hires_mode=HiResMode.BRAILLE)

        def point() -> None:
            nonlocal values
            values = np.append(values, 1.0)
            show()
            widget._render_plot()

        show()
        await pilot.pause()
        return {"frame": min(timed(widget._render_plot) for _ in range(2)), "point": timed(point)}


MEASURES = {"ft": ours, "textual-plotext": plotext, "textual-plot": plot}


def measure(python: Path, name: str, points: int) -> Times:
    command: list[str | Path] = [python, __file__, "--only", name, "--points", str(points)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=MEASURES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        print(json.dumps(asyncio.run(MEASURES[chosen.only](losses(chosen.points)))))
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        other = Path(folder) / "bin" / "python"
        needs = [package for packages in OTHERS.values() for package in packages]
        subprocess.run(
            [other, "-m", "pip", "install", "-q", "textual==8.2.8", *needs],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        pythons = {name: other if name in OTHERS else Path(sys.executable) for name in MEASURES}
        best: dict[str, Times] = {}
        for _ in range(chosen.rounds):
            for name, python in pythons.items():
                found = measure(python, name, chosen.points)
                best[name] = {key: min(value, best.get(name, found)[key]) for key, value in found.items()}
    report(best, chosen.points)


def report(best: dict[str, Times], points: int) -> None:
    print(f"{points} points at {SIZE[0]}×{SIZE[1]} cells, best of all rounds")
    print(f"{'chart':<18} {'frame ms':>9} {'ratio':>7} {'new point ms':>13} {'ratio':>7}")
    base = best["ft"]
    for name, times in best.items():
        print(
            f"{name:<18} {times['frame']:>9.2f} {times['frame'] / base['frame']:>6.1f}× "
            f"{times['point']:>13.2f} {times['point'] / base['point']:>6.1f}×"
        )
    print(
        f"ft takes a point in in {base['append']:.2f} µs, and smooths all of them anew in {base['smooth']:.0f} ms"
    )


if __name__ == "__main__":
    main()
