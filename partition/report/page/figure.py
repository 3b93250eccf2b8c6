"""A figure: a picture in any width, the words and the table behind it; and the colours of all figures."""

from collections.abc import Callable
from dataclasses import dataclass

from partition.report.page.svg import Drawing

WIDE, NARROW = 760, 328
"""Widths in pixels: of a picture by itself or on a desk, and of one on a phone."""

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; brighter ones on a dark ground.
_LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "muted": "#59636e",
    "rule": "#d1d9e0",
    "soft": "#f1f4f7",
    "device": "#0072b2",
    "uplink": "#e69f00",
    "server": "#009e73",
    "downlink": "#cc79a7",
    "on-device": "#ffffff",
    "on-server": "#03150e",
    "mark": "#c1440e",
}
_DARK = {
    "paper": "#14181d",
    "ink": "#e6edf3",
    "muted": "#9aa6b2",
    "rule": "#3a434d",
    "soft": "#1e242b",
    "device": "#56b4e9",
    "uplink": "#f0b429",
    "server": "#2ec49a",
    "downlink": "#e29dc3",
    "on-device": "#06202f",
    "on-server": "#03261c",
    "mark": "#ff8f5c",
}
_FILLS = tuple(_LIGHT)
_LINES = {
    "line-ink": ("ink", 2.5, ""),
    "line-muted": ("muted", 1.2, ""),
    "line-rule": ("rule", 1, ""),
    "line-device": ("device", 1.8, "6 4"),
    "line-server": ("server", 1.8, "2 3"),
    "line-mark": ("mark", 1.8, "10 3 2 3"),
    "line-here": ("mark", 1.2, "3 3"),
    "line-uplink": ("uplink", 2.2, ""),
    "line-downlink": ("downlink", 2.2, ""),
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def colours(scope: str, *, dark: bool) -> str:
    """Return the style rules of the shapes below the selector `scope`."""
    own = _DARK if dark else _LIGHT
    rules = [f"{scope} .{name}{{fill:{own[name]}}}" for name in _FILLS]
    rules += [
        f"{scope} .{name}{{fill:none;stroke:{own[colour]};stroke-width:{width}"
        + (f";stroke-dasharray:{dashes}}}" if dashes else "}")
        for name, (colour, width, dashes) in _LINES.items()
    ]
    rules += [
        f"{scope} .edge-{name}{{fill:none;stroke:{own[name]};stroke-width:1.5}}"
        for name in ("device", "uplink", "server", "downlink", "muted")
    ]
    rules.append(f"{scope} .dot{{fill:{own['paper']};stroke:{own['ink']};stroke-width:2}}")
    rules.append(f"{scope} .frame{{fill:none;stroke:{own['mark']};stroke-width:2}}")
    rules.append(f"{scope} .bold{{fill:{own['ink']};font-weight:700}}")
    return "\n".join(rules)


def colour(name: str, *, dark: bool) -> str:
    """Return one of the colours, for the page around the figures."""
    return (_DARK if dark else _LIGHT)[name]


@dataclass(frozen=True, slots=True)
class Table:
    """What a figure shows, as text cells; all columns but the first hold numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One figure.

    Attributes
    ----------
    kind : str
    title, description : str
        The description says in words what the picture shows.
    paint : callable
        Draws into an empty `Drawing` of some width and returns the height, in pixels.
    tables : tuple of Table
    notes : tuple of str
        What a reader has to know: what was left out, and of what it holds.
    """

    kind: str
    title: str
    description: str
    paint: Callable[[Drawing], float]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()

    def svg(self, width: float, *, identity: str, more: str = "") -> str:
        """Return the picture for a page that brings the colours."""
        drawing = Drawing(width)
        height = self.paint(drawing)
        return drawing.render(height, title=self.title, description=self.description, identity=identity, more=more)

    def alone(self, *, dark_too: bool = True) -> str:
        """Return the picture as a file of its own, with colours for light and, if wanted, for dark surroundings."""
        drawing = Drawing(WIDE)
        drawing.rect(0, 0, WIDE, 100_000, "paper")
        drawing.text(4, 24, self.title, "bold", size=15)
        inner = Drawing(WIDE)
        height = self.paint(inner)
        drawing.place(inner, 0, 36)
        style = colours("svg", dark=False)
        if dark_too:
            style += "\n@media (prefers-color-scheme: dark) {\n" + colours("svg", dark=True) + "\n}"
        return drawing.render(
            height + 40,
            title=self.title,
            description=self.description,
            identity=self.kind,
            more=f' font-family="{FONT}"',
            inside=f"<style>{style}</style>",
        )


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure that cannot be drawn of this plan, and why."""

    kind: str
    title: str
    reason: str
