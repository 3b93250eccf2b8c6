"""Scales and axes: round ticks, linear or logarithmic, and their lines."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log10

from partition.report.page.svg import Drawing, text_width

_TEXT = 11


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to pixels.

    Attributes
    ----------
    low, high : float
        Values at the two ends; above 0 where it is logarithmic.
    start, end : float
        Pixels there.
    logarithmic : bool
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        if self.logarithmic:
            share = log10(value / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the scale."""
        if self.logarithmic:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**decade for decade in decades for step in steps]
                inside = [one for one in found if self.low * 0.999 <= one <= self.high * 1.001]
                if len(inside) <= most:
                    return inside
            return inside[:: ceil(len(inside) / most)]
        rough = (self.high - self.low) / most
        power = 10.0 ** floor(log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first = ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, floor(self.high / step + 1e-9) + 1)]


def spread(values: list[float], start: float, end: float, *, linear: bool = False) -> Scale:
    """Return a scale that holds all values with a margin, logarithmic where they differ much."""
    least, most = min(values), max(values)
    if least > 0 and most > 8 * least and not linear:
        return Scale(least / 1.2, most * 1.2, start, end, logarithmic=True)
    margin = (most - least) * 0.08 or abs(most) * 0.1 or 1.0
    return Scale(max(0.0, least - margin) if least >= 0 else least - margin, most + margin, start, end)


def bottom_axis(
    drawing: Drawing, scale: Scale, top: float, bottom: float, label: str, write: Callable[[float], str]
) -> None:
    """Draw an axis below, with lines up to `top`."""
    widest = max((text_width(write(tick), _TEXT) for tick in scale.ticks(6)), default=_TEXT) + 10
    most = max(2, min(7, int((scale.end - scale.start) / widest)))
    for tick in scale.ticks(most):
        x, text = scale(tick), write(tick)
        drawing.path([(x, top), (x, bottom)], "line-rule")
        over = x + text_width(text, _TEXT) / 2 > drawing.width
        drawing.text(
            drawing.width - 1 if over else x, bottom + 15, text, "muted", size=_TEXT, anchor="end" if over else "middle"
        )
    drawing.text((scale.start + scale.end) / 2, bottom + 32, label, "muted", size=_TEXT, anchor="middle")


def left_axis(
    drawing: Drawing, scale: Scale, left: float, right: float, label: str, write: Callable[[float], str]
) -> None:
    """Draw an axis at the left, its label above it."""
    for tick in scale.ticks(6):
        y = scale(tick)
        drawing.path([(left, y), (right, y)], "line-rule")
        drawing.text(left - 6, y + 4, write(tick), "muted", size=_TEXT, anchor="end")
    drawing.text(4, min(scale.start, scale.end) - 12, label, "muted", size=_TEXT)


def legend(drawing: Drawing, y: float, entries: list[tuple[str, str]], *, lines: bool = False) -> float:
    """Write what the colours stand for, in as many rows as it takes; return where the next thing may begin."""
    x = 4.0
    for kind, label in entries:
        width = (35 if lines else 19) + text_width(label, 12) + 16
        if x > 4 and x + width > drawing.width:
            x, y = 4.0, y + 20
        if lines and kind.startswith("line-"):
            drawing.path([(x, y + 6), (x + 28, y + 6)], kind)
        elif kind in ("dot", "mark"):
            drawing.circle(x + (14 if lines else 6.5), y + 6.5, 5, kind)
        else:
            drawing.rect(x, y, 13, 13, kind, radius=2)
        drawing.text(x + (35 if lines else 19), y + 11, label, size=12)
        x += width
    return y + 26


def milliseconds(seconds: float) -> str:
    """Write a time for a table: milliseconds, three digits or more."""
    value = seconds * 1e3
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
