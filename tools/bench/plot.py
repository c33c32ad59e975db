"""Plots as SVG: grouped bars on a logarithmic scale, and lines over the size of the catalog."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

COLORS = ("#2b6cb0", "#90cdf4", "#2f855a", "#b7791f", "#c05621", "#9b2c2c", "#6b46c1", "#718096")
WIDTH, HEIGHT = 1200, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 64, 48
STYLE = "font-family: system-ui, sans-serif; font-size: 12px; fill: #2d3748"


@dataclass(slots=True)
class Canvas:
    """A drawing with a logarithmic axis of values from `min_value` to `max_value`."""

    title: str
    min_value: float
    max_value: float
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.min_value = 10 ** math.floor(math.log10(self.min_value))
        self.max_value = 10 ** math.ceil(math.log10(self.max_value))
        self.text(LEFT, 20, self.title, weight="bold")
        for exponent in range(round(math.log10(self.min_value)), round(math.log10(self.max_value)) + 1):
            y = self.y_of(10.0**exponent)
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#e2e8f0"/>')
            self.text(LEFT - 8, y + 4, f"{10.0**exponent:g}", anchor="end")

    def y_of(self, value: float) -> float:
        """Return the position of a value on the axis."""
        share = math.log(max(value, self.min_value) / self.min_value) / math.log(self.max_value / self.min_value)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def text(self, x: float, y: float, content: str, *, anchor: str = "start", weight: str = "normal") -> None:
        """Draw text. `anchor` and `weight` are those of SVG and CSS."""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(content)}</text>'
        )

    def legend(self, names: Sequence[str]) -> None:
        """Draw the names of the series with their colors."""
        x = float(LEFT)
        for name, color in zip(names, COLORS, strict=False):
            self.parts.append(f'<rect x="{x:.1f}" y="32" width="12" height="12" fill="{color}"/>')
            self.text(x + 16, 42, name)
            x += 36 + 6.6 * len(name)

    def to_svg(self) -> str:
        """Return the drawing."""
        content = "\n".join(self.parts)
        background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{STYLE}">'
        return f"{head}\n{background}\n{content}\n</svg>\n"


def draw_bars(title: str, groups: Mapping[str, str], series: Mapping[str, Mapping[str, float]]) -> str:
    """Draw a group of bars for each workload. `groups` has their titles; `series` a value per group for each target."""
    values = [value for one in series.values() for value in one.values()]
    canvas = Canvas(title, min(values) / 2, max(values))
    canvas.legend(list(series))
    group_width = (WIDTH - LEFT - RIGHT) / len(groups)
    width = group_width * 0.8 / len(series)
    for position, (group, label) in enumerate(groups.items()):
        start = LEFT + group_width * (position + 0.1)
        canvas.text(start + group_width * 0.4, HEIGHT - BOTTOM + 18, group, anchor="middle", weight="bold")
        canvas.text(start + group_width * 0.4, HEIGHT - BOTTOM + 34, label, anchor="middle")
        for number, (one, color) in enumerate(zip(series.values(), COLORS, strict=False)):
            if group in one:
                x, top = start + number * width, canvas.y_of(one[group])
                canvas.parts.append(
                    f'<rect x="{x:.1f}" y="{top}" width="{width - 2:.1f}" height="{HEIGHT - BOTTOM - top:.1f}" fill="{color}"/>'
                )
                figure = f"{one[group]:.2g}" if one[group] < 10 else f"{one[group]:.0f}"
                canvas.text(x + width / 2 - 1, top - 4, figure, anchor="middle")
    return canvas.to_svg()


def draw_lines(title: str, series: Mapping[str, Mapping[int, float]]) -> str:
    """Draw a line for each workload. `series` has a value per size; both scales are logarithmic."""
    sizes = sorted({size for one in series.values() for size in one})
    values = [value for one in series.values() for value in one.values()]
    canvas = Canvas(title, min(values), max(values))
    canvas.legend(list(series))
    span = math.log(sizes[-1] / sizes[0]) or 1

    def x_of(size: int) -> float:
        return LEFT + 60 + math.log(size / sizes[0]) / span * (WIDTH - LEFT - RIGHT - 120)

    for size in sizes:
        canvas.text(x_of(size), HEIGHT - BOTTOM + 18, f"{size:,} books", anchor="middle")
    for one, color in zip(series.values(), COLORS, strict=False):
        points = " ".join(f"{x_of(size):.1f},{canvas.y_of(value)}" for size, value in sorted(one.items()))
        canvas.parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        for point in points.split():
            x, _, y = point.partition(",")
            canvas.parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{color}"/>')
    return canvas.to_svg()
