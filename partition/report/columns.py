"""Tables that keep names whole: a tensor's name is there to be copied, so no terminal may break or shorten it."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment


@dataclass(frozen=True, slots=True)
class Indented:
    """A view two columns to the right; rich's own padding would cut off what is longer than the line."""

    view: "RenderableType"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Segment]":
        """Put spaces in front of each line, as rich asks of what it prints."""
        from rich.segment import Segment

        inner = console.render(self.view, options.update_width(max(options.max_width - 2, 1)))
        for line in Segment.split_lines(inner):
            yield Segment("  ")
            yield from line
            yield Segment.line()


def keep_words(view: Any) -> None:
    """Make the columns of a view's tables as wide as their longest words, and those that never wrap as their cells.

    Where that is more than the terminal is wide, it wraps the lines itself, and what is copied from it is whole.
    """
    from rich.cells import cell_len
    from rich.console import Group
    from rich.table import Table

    if isinstance(view, Group):
        for one in view.renderables:
            keep_words(one)
    elif isinstance(view, Indented):
        keep_words(view.view)
    elif isinstance(view, Table):
        for column in view.columns:
            # A column that does not wrap has cells of one line each.
            cells = [str(cell) for cell in (column.header, *column.cells)]
            words = cells if column.no_wrap else [word for cell in cells for word in cell.split()]
            column.min_width = max((cell_len(word) for word in words), default=1)


def view_text(view: "RenderableType", width: int) -> str:
    """Return a view as plain text, as many columns wide as said or as its names need."""
    from rich.console import Console

    keep_words(view)
    buffer = StringIO()
    console = Console(file=buffer, width=width, color_system=None, legacy_windows=False)
    console.print(view, crop=False, overflow="ignore")
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
