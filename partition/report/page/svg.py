"""A small writer of SVG: shapes by kind, text that is escaped and fits, a title and a description for whoever listens.

Colours are not in the shapes but in the style of whoever shows them: a shape says what it stands for, by its class.
"""

import re
from html import escape
from itertools import pairwise

# Widths relative to the font size, rounded up, of the widest font in `partition.report.page.figure.FONT`: DejaVu Sans.
_WIDTHS = {
    character: width
    for width, characters in {
        0.3: "'IJijl",
        0.35: " ,./:;\\|·",
        0.4: "()-[]ft",
        0.45: "!r",
        0.5: '"*_`',
        0.55: "?csz▸",
        0.6: "FLkvxy",
        0.65: "$0123456789EPSTYabdeghnopqu{}µ",
        0.7: "ABCKRVXZ",
        0.75: "NU",
        0.8: "&DGHOQ",
        0.85: "#+<=>^w~±→×−",
        0.9: "M",
    }.items()
    for character in characters
}
_WIDEST, _BOLDER = 1.0, 1.15
_MOST_TIP_CHARACTERS = 300
# What XML does not know, and what turns the direction of writing: a name could make a page unreadable or lie with it.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def safe(text: object, *, most: int = 2_000) -> str:
    """Escape a text for HTML and SVG, inside an element or an attribute.

    Characters that neither may hold, and those that turn the direction of writing, become U+FFFD; what is longer than
    `most` is shortened in the middle.
    """
    return escape(_UNSAFE.sub("\ufffd", shortened(str(text), most)), quote=True)


def shortened(text: str, most: int) -> str:
    """Take out the middle of a text that has more than `most` characters, with an ellipsis in its place."""
    if len(text) <= most:
        return text
    front = max(most - 1, 1) * 3 // 5
    back = max(most - 1 - front, 0)
    return f"{text[:front]}…{text[len(text) - back :]}"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a text is at most, in pixels, in the fonts of the figures at a font size."""
    return sum(_WIDTHS.get(one, _WIDEST) for one in text) * size * (_BOLDER if bold else 1.0)


def fitted(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Shorten a text to a width in pixels; two characters are left at least."""
    most = max(int(width / (min(_WIDTHS.values()) * size)), 2)
    while (short := shortened(text, most)) and most > 2 and text_width(short, size, bold=bold) > width:
        most = min(most, len(text)) - 1
    return short


def number(value: float) -> str:
    """Write a coordinate: a tenth of a pixel is enough."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


class Drawing:
    """One picture, drawn from back to front.

    Parameters
    ----------
    width : float
        In pixels; the height is told at the end.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self._lines: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, *, tip: str = "", radius: float = 0
    ) -> None:
        """Draw a box; `tip` is what a pointer that rests on it shows."""
        round_ = f' rx="{number(radius)}"' if radius else ""
        self._add(
            f'rect x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" height="{number(height)}"{round_}',
            kind,
            tip,
            "rect",
        )

    def circle(self, x: float, y: float, radius: float, kind: str, *, tip: str = "") -> None:
        """Draw a dot."""
        self._add(f'circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"', kind, tip, "circle")

    def path(self, points: list[tuple[float, float]], kind: str, *, tip: str = "", closed: bool = False) -> None:
        """Draw straight lines from point to point."""
        steps = "L".join(f"{number(x)} {number(y)}" for x, y in points)
        self._add(f'path d="M{steps}{"Z" if closed else ""}"', kind, tip, "path")

    def curve(self, points: list[tuple[float, float]], kind: str, *, tip: str = "") -> None:
        """Draw a line that leaves and reaches each point straight from above."""
        steps = [f"M{number(points[0][0])} {number(points[0][1])}"]
        for (x, y), (to_x, to_y) in pairwise(points):
            middle = number((y + to_y) / 2)
            if abs(x - to_x) < 0.1:
                steps.append(f"V{number(to_y)}")
            else:
                steps.append(f"C{number(x)} {middle} {number(to_x)} {middle} {number(to_x)} {number(to_y)}")
        self._add(f'path d="{"".join(steps)}"', kind, tip, "path")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = "ink",
        *,
        size: float = 12,
        anchor: str = "start",
        tip: str = "",
    ) -> None:
        """Write one line; its baseline is at `y`."""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._lines.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}"{where} class="{kind}">'
            f"{_tip(tip)}{safe(text)}</text>"
        )

    def place(self, other: "Drawing", x: float, y: float) -> None:
        """Put another drawing into this one."""
        self._lines += [f'<g transform="translate({number(x)} {number(y)})">', *other._lines, "</g>"]

    def _add(self, shape: str, kind: str, tip: str, element: str) -> None:
        end = f">{_tip(tip)}</{element}>" if tip else "/>"
        self._lines.append(f'<{shape} class="{kind}"{end}')

    def render(
        self, height: float, *, title: str, description: str, identity: str, more: str = "", inside: str = ""
    ) -> str:
        """Return the picture as one ``<svg>`` element.

        Parameters
        ----------
        height : float
        title, description : str
            What is read out in place of the picture.
        identity : str
            Unique in its page.
        more : str
            Further attributes of the element, escaped.
        inside : str
            What comes first in it, such as a style.
        """
        width = number(self.width)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {number(height)}" width="{width}" '
            f'height="{number(height)}" role="img" aria-labelledby="{identity}-title {identity}-text"{more}>'
        )
        words = (
            f'<title id="{identity}-title">{safe(title)}</title><desc id="{identity}-text">{safe(description)}</desc>'
        )
        return "\n".join([head, words + inside, *self._lines, "</svg>"])


def _tip(text: str) -> str:
    return f"<title>{safe(text, most=_MOST_TIP_CHARACTERS)}</title>" if text else ""
