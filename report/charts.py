"""Line charts as SVG that takes its colours from the page: readable in light and dark, and at any width."""
import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 44     # margins
STYLES = 6                                    # line styles the style sheet has, .s0 ... .s5


class Series(NamedTuple):
    """A line: its name and its points (iteration, value)."""

    name: str
    points: Sequence[tuple[float, float]]


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers at equal distances.

    Parameters
    ----------
    low, high : float
        Ends of the axis.
    about : int
        Roughly how many.

    Examples
    --------
    >>> linear_ticks(0, 100)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    rough = (high - low) / about or 1
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten, or the powers alone when those are many.

    Parameters
    ----------
    low, high : float
        Ends of the axis, above 0.

    Examples
    --------
    >>> logarithmic_ticks(900, 60000)
    [1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(powers) > 4 else (1, 2, 5)
    return [factor * 10.0 ** power for power in powers for factor in factors if low <= factor * 10.0 ** power <= high]


def tick_label(value: float) -> str:
    """A number as an axis shows it.

    >>> [tick_label(value) for value in (0, 0.5, 20, 4000, 150000, 2e6)]
    ['0', '0.5', '20', '4k', '150k', '2M']
    """
    for size, letter in ((1e6, 'M'), (1e3, 'k')):
        if value >= size:
            return f'{value / size:g}{letter}'
    return f'{value:g}'


def line_chart(series: Sequence[Series], title: str, y_title: str, y_range: tuple[float, float] | None = None,
               ) -> Markup:
    """Draw lines over the iterations.

    Parameters
    ----------
    series : sequence of Series
        In the order of their styles. Points are finite.
    title, y_title : str
        What is shown, for those who do not see it, and the name of the vertical axis.
    y_range : pair of float, optional
        Ends of the vertical axis; without it the axis is logarithmic and as long as the values need.

    Returns
    -------
    Markup
        An SVG element.
    """
    points = [point for line in series for point in line.points if y_range or point[1] > 0]
    x_high = max((x for x, _ in points), default=1)
    if y_range:
        (low, high), ticks = y_range, linear_ticks(*y_range)
    else:
        values = [y for _, y in points] or [1.0]
        low, high = min(values) / 1.1, max(values) * 1.1
        ticks = logarithmic_ticks(low, high)
        if len(ticks) < 3:
            ticks = linear_ticks(low, high)

    def scale(value: float) -> float:
        return value if y_range else math.log10(value)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / x_high

    def y(value: float) -> float:
        share = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(max(share, 0), 1)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for value in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
                     f'<text x="{LEFT - 6}" y="{y(value):.1f}" dy=".32em" text-anchor="end">{tick_label(value)}</text>')
    for value in linear_ticks(0, x_high):
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                     f'{tick_label(value)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">iteration</text>'
                 f'<text transform="translate(12 {(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)" text-anchor="middle">'
                 f'{escape(y_title)}</text>')
    for number, line in enumerate(series):
        shown = [(x(a), y(b)) for a, b in line.points if y_range or b > 0]
        style = f'line s{number % STYLES}'
        if len(shown) == 1:
            parts.append(f'<circle class="{style}" cx="{shown[0][0]:.1f}" cy="{shown[0][1]:.1f}" r="3"/>')
        elif shown:
            parts.append(f'<polyline class="{style}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in shown)}"/>')
    return Markup(''.join([*parts, '</svg>']))
