"""The command ``dnn-partition route``: which lengths run where, over a network as its file describes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partition.arguments import ForceOption, JsonOption, check_output_file
from partition.errors import InputError
from partition.terminal import console, show_json

if TYPE_CHECKING:
    from rich.table import Table

    from partition.routing.network import MachineNetwork
    from partition.routing.nominal import LengthRange, NominalRoutes

NetworkArgument = Annotated[Path, typer.Argument(metavar="NETWORK", help="A network file (.json).", show_default=False)]
ObjectiveOption = Annotated[
    str, typer.Option(help="'time', 'energy' (of the end node), or the weight of energy from 0 to 1.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="New .svg, .png or .pdf; needs the extra 'plot'.")
]
_LONGEST_NUMBER = 10


def route(
    network: NetworkArgument,
    objective: ObjectiveOption = "time",
    length: Annotated[
        int | None, typer.Option("--length", "-n", metavar="N", help="One input's length.", show_default=False)
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option("--lengths", metavar="LEAST..MOST", help="Range of lengths.", show_default="the end node's"),
    ] = None,
    plot: PlotOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show which lengths of an input run on which machine.

    Links are as the network file has them, and nobody is busy; `simulate` tells what routers make of others.
    """
    from partition.routing.network import load_network
    from partition.routing.nominal import nominal_routes

    if length is not None and lengths is not None:
        raise InputError("--length is for one input and --lengths for a range; give one of the two")
    if plot is not None:
        check_plot(plot, force=force)
    loaded = load_network(network)
    if length is not None and length < 1:
        raise InputError(f"--length {length}: an input of length 0 or less has nothing to compute; give 1 or more")
    ends = (length, length) if length is not None else None if lengths is None else length_ends(lengths)
    found = nominal_routes(loaded, ends, objective=read_objective(objective))
    if plot is not None:
        from partition.routing.plots import plot_routes

        plot_routes(found, plot)
    if as_json:
        show_json(_content(found, plot))
        return
    shown = console()
    if length is not None:
        _show_one(found, length)
    else:
        shown.print(_table(found))
        evens = ", ".join(map(str, found.break_evens)) or "none: all lengths go the same way"
        shown.print(f"break-evens (the first length of the next range): {evens}", soft_wrap=True)
    if found.ranges[0].joules is not None:
        shown.print(f"energy is that of the end node, {found.network.end_node}", soft_wrap=True)
    if any(one.extrapolated for one in found.ranges):
        shown.print("* beyond what was measured for this machine: extrapolated", soft_wrap=True)
    if plot is not None:
        shown.print(f"written: {plot}", soft_wrap=True)


def read_objective(text: str) -> str | float:
    """Read the option ``--objective``."""
    if text in ("time", "energy"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--objective {text!r} is unknown; use 'time', 'energy', or a weight from 0 to 1") from None


def length_ends(text: str) -> tuple[int, int]:
    """Read the option ``--lengths`` of a range."""
    ends = text.split("..")
    if len(ends) != 2 or any(not one.isascii() or not one.isdigit() or len(one) > _LONGEST_NUMBER for one in ends):
        raise InputError(f"--lengths {text!r}: write a range as LEAST..MOST, such as 1..512")
    return int(ends[0]), int(ends[1])


def check_plot(path: Path, *, force: bool) -> None:
    """Refuse, before any work, a plot that could not be drawn or written after it."""
    from partition.routing.plots import check_plot_file

    check_plot_file(path)
    check_output_file(path, "plot", force=force)


def _content(found: "NominalRoutes", plot: Path | None) -> dict[str, object]:
    return {
        "end_node": found.network.end_node,
        "objective": found.objective,
        "lengths": [int(found.lengths[0]), int(found.lengths[-1])],
        "break_evens": list(found.break_evens),
        "ranges": [one.to_json() for one in found.ranges],
        "plot": None if plot is None else str(plot),
    }


def _table(found: "NominalRoutes") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    joules = found.ranges[0].joules is not None
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    made.add_column("lengths", no_wrap=True)
    made.add_column("runs on", overflow="fold")
    made.add_column("way", overflow="fold")
    for heading in ("time", *(("energy",) if joules else ())):
        made.add_column(heading, justify="right", no_wrap=True)
    for one in found.ranges:
        ends = str(one.least) if one.least == one.most else f"{one.least} to {one.most}"
        figures = [_times(one)]
        if one.joules is not None:
            figures.append(f"{one.joules[0]:.4g} to {one.joules[1]:.4g} J")
        name = one.machine + (" *" if one.extrapolated else "")
        made.add_row(ends, Text(name), Text(_way(one, found.network)), *figures)
    return made


def _times(one: "LengthRange") -> str:
    from partition.units import format_duration

    low, high = (format_duration(seconds) for seconds in one.seconds)
    return low if low == high else f"{low} to {high}"


def _way(one: "LengthRange", network: "MachineNetwork") -> str:
    return "stays" if one.machine == network.end_node else " -> ".join(one.route)


def _show_one(found: "NominalRoutes", length: int) -> None:
    """Show one length: where it goes, and what every other way would take."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from partition.units import format_duration

    chosen = found.at(length)
    joules = chosen.joules is not None
    made = Table("", "machine", "way", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("time", *(("energy",) if joules else ())):
        made.add_column(heading, justify="right", no_wrap=True)
    for curve in sorted(found.curves, key=lambda one: float(one.cost[0])):
        way = "stays" if len(curve.route) == 1 else " -> ".join(curve.route)
        figures = [format_duration(float(curve.seconds[0]))]
        if curve.joules is not None:
            figures.append(f"{curve.joules[0]:.4g} J")
        mark = "chosen" if curve.route == chosen.route else ""
        star = " *" if mark and chosen.extrapolated else ""
        made.add_row(mark, Text(curve.machine + star), Text(way), *figures)
    console().print(f"length {length} runs on {chosen.machine}", soft_wrap=True)
    console().print(made)
