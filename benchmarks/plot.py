"""Plots as SVG, written by hand: bars side by side on a logarithmic scale, and lines against size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

COLOURS = ("#2b6cb0", "#90cdf4", "#2f855a", "#b7791f", "#c05621", "#9b2c2c", "#6b46c1", "#718096")
WIDTH, HEIGHT = 1200, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 64, 48
STYLE = "font-family: system-ui, sans-serif; font-size: 12px; fill: #2d3748"


@dataclass(slots=True)
class Canvas:
    """A frame with a logarithmic axis."""

    title: str
    least: float
    most: float
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.least, self.most = 10 ** math.floor(math.log10(self.least)), 10 ** math.ceil(math.log10(self.most))
        self.text(LEFT, 20, self.title, weight="bold")
        for exponent in range(round(math.log10(self.least)), round(math.log10(self.most)) + 1):
            height = self.height(10.0**exponent)
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}" stroke="#e2e8f0"/>')
            self.text(LEFT - 8, height + 4, f"{10.0**exponent:g}", anchor="end")

    def height(self, value: float) -> float:
        share = math.log(max(value, self.least) / self.least) / math.log(self.most / self.least)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
        )

    def legend(self, names: Sequence[str]) -> None:
        x = float(LEFT)
        for name, colour in zip(names, COLOURS, strict=False):
            self.parts.append(f'<rect x="{x:.1f}" y="32" width="12" height="12" fill="{colour}"/>')
            self.text(x + 16, 42, name)
            x += 36 + 6.6 * len(name)

    def drawn(self) -> str:
        inside = "\n".join(self.parts)
        background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{STYLE}">'
        return f"{head}\n{background}\n{inside}\n</svg>\n"


def bars(title: str, groups: Mapping[str, str], series: Mapping[str, Mapping[str, float]]) -> str:
    """`groups` with what they are; `series` by name, each with a value for every group it has one for."""
    values = [value for one in series.values() for value in one.values()]
    canvas = Canvas(title, min(values) / 2, max(values))
    canvas.legend(list(series))
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width = room * 0.8 / len(series)
    for place, (group, meaning) in enumerate(groups.items()):
        start = LEFT + room * (place + 0.1)
        canvas.text(start + room * 0.4, HEIGHT - BOTTOM + 18, group, anchor="middle", weight="bold")
        canvas.text(start + room * 0.4, HEIGHT - BOTTOM + 34, meaning, anchor="middle")
        for number, (one, colour) in enumerate(zip(series.values(), COLOURS, strict=False)):
            if group in one:
                x, top = start + number * width, canvas.height(one[group])
                canvas.parts.append(
                    f'<rect x="{x:.1f}" y="{top}" width="{width - 2:.1f}" height="{HEIGHT - BOTTOM - top:.1f}" fill="{colour}"/>'
                )
                label = f"{one[group]:.2g}" if one[group] < 10 else f"{one[group]:.0f}"
                canvas.text(x + width / 2 - 1, top - 4, label, anchor="middle")
    return canvas.drawn()


def lines(title: str, series: Mapping[str, Mapping[int, float]]) -> str:
    """`series` by name, each a value for every size; both scales are logarithmic."""
    sizes = sorted({size for one in series.values() for size in one})
    values = [value for one in series.values() for value in one.values()]
    canvas = Canvas(title, min(values), max(values))
    canvas.legend(list(series))
    span = math.log(sizes[-1] / sizes[0]) or 1

    def across(size: int) -> float:
        return LEFT + 60 + math.log(size / sizes[0]) / span * (WIDTH - LEFT - RIGHT - 120)

    for size in sizes:
        canvas.text(across(size), HEIGHT - BOTTOM + 18, f"{size:,} books", anchor="middle")
    for one, colour in zip(series.values(), COLOURS, strict=False):
        points = " ".join(f"{across(size):.1f},{canvas.height(value)}" for size, value in sorted(one.items()))
        canvas.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in points.split():
            x, _, y = point.partition(",")
            canvas.parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>')
    return canvas.drawn()
