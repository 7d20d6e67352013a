"""Draws `speed.svg`, the picture in the README, from results.md: `python -m tests.bench.plot`.

It wants the dependency group `plot`, best in an environment of its own.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tests.bench.measure import RESULTS

PICTURE = Path(__file__).parent / "speed.svg"
OURS, OTHERS, INK = "#1f6feb", "#9aa4b2", "#57606a"


def rows_of(section: str) -> list[list[str]]:
    """The cells of the table in a section of results.md, without its heading; measured on a disk or in memory."""
    results = RESULTS.read_text()
    text = results.partition(f"\n## {section}\n")[2] or results.partition(f"\n## {section}, tmpfs\n")[2]
    text = text.partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return cells[2:]


def number(cell: str) -> float:
    """A figure of a table."""
    return float(cell.replace(",", ""))


def main() -> None:
    """Bars for `small`, and what a file costs from a thousand of them to a million, if that was measured."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "migrator", "font.size": 9, "text.color": INK})
    mpl.rcParams.update({"axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK})
    points = [(number(row[0]), number(row[3])) for row in rows_of("curve")]
    widths = (3, 2) if points else (1,)
    figure, axes = plt.subplots(
        1, len(widths), figsize=(8.4, 2.8), layout="constrained", width_ratios=widths, squeeze=False
    )
    bars = axes[0][0]
    speeds = sorted((number(row[2]), row[0]) for row in rows_of("small"))
    bars.barh(
        [name for _, name in speeds],
        [speed for speed, _ in speeds],
        color=[OURS if name.startswith("migrator") else OTHERS for _, name in speeds],
    )
    bars.set_title("files a second, 10,000 files of 2-20 KB", loc="left", fontsize=9)
    bars.bar_label(bars.containers[0], labels=[f" {speed:,.0f}" for speed, _ in speeds])
    bars.margins(x=0.12)
    if points:
        draw_curve(axes[0][1], points)
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, transparent=True, metadata={"Date": None})


def draw_curve(curve: Axes, points: list[tuple[float, float]]) -> None:
    """What a file costs, by how many there are."""
    curve.plot([count for count, _ in points], [cost for _, cost in points], color=OURS, marker="o")
    curve.set_xscale("log")
    curve.set_ylim(bottom=0)
    curve.set_title("milliseconds of processor a file", loc="left", fontsize=9)
    curve.set_xlabel("tiny files in a first backup")


main()
