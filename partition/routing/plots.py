"""Plots of routing, by matplotlib, which the extra ``plot`` installs: SVG, PNG or PDF, by the file's ending."""

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from partition.errors import InputError
from partition.files import draft_of
from partition.routing.network import MachineNetwork
from partition.routing.nominal import NominalRoutes
from partition.routing.outcome import Simulation
from partition.routing.profiles import LinkProfile, Profiles
from partition.routing.totals import total_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # type: ignore[import-not-found, unused-ignore]  # an extra
    from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]  # an extra

ENDINGS = (".svg", ".png", ".pdf")

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; the end node's is the first.
_COLOURS = ("#0072b2", "#009e73", "#e69f00", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31", "#595959")
_INK, _MUTED, _RULE = "#1f2328", "#59636e", "#d1d9e0"
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
_MOST_POINTS = 4000
_BINS = 60
_MOST_TIMES_BEST = 2.5
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "legend.frameon": False,
    "svg.fonttype": "none",
    # The same figure is the same file.
    "svg.hashsalt": "dnn-partition",
}


def check_plot_file(path: Path) -> None:
    """Refuse, before the work, a file whose ending is unknown, or any where matplotlib is missing.

    Raises
    ------
    InputError
        One of the two.
    """
    if path.suffix not in ENDINGS:
        raise InputError(f"plot '{path}': the ending '{path.suffix}' is unknown; use {', '.join(ENDINGS)}")
    _figure_type()


def plot_routes(routes: NominalRoutes, path: str | os.PathLike[str]) -> None:
    """Draw time, or what the objective says, against length: one curve for each machine, break-evens marked.

    Parameters
    ----------
    routes : NominalRoutes
    path : path-like
        Written, or replaced.

    Raises
    ------
    InputError
        matplotlib is missing, the ending is unknown, or the file cannot be written.
    """
    check_plot_file(Path(path))
    energy = routes.objective == "energy"
    label = "energy of the end node, J" if energy else "time until the result, ms"

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        lengths = routes.lengths
        best = np.full(len(lengths), np.inf)
        highest = 0.0
        # Of several ways to a machine only the best one of each length is shown.
        for place, name in enumerate(routes.network.names):
            own = [one for one in routes.curves if one.machine == name]
            if not own:
                continue
            costs = np.stack([one.cost for one in own])
            values = np.stack([one.joules if energy and one.joules is not None else 1e3 * one.seconds for one in own])
            shown = np.take_along_axis(values, np.argmin(costs, axis=0)[None], axis=0)[0]
            highest = max(highest, float(shown.max()))
            axes.plot(lengths, shown, color=_colour(place), linestyle=_dash(place), linewidth=1.6, label=name)
        for number, curve in enumerate(routes.curves):
            chosen = routes.chosen == number
            values = curve.joules if energy and curve.joules is not None else 1e3 * curve.seconds
            best[chosen] = values[chosen]
        axes.plot(lengths, best, color=_INK, linewidth=5, alpha=0.15, label="chosen", zorder=1)
        axes.set_xlim(lengths[0], max(lengths[-1], lengths[0] + 1))
        # A machine that is hopeless for long inputs would press all else flat.
        axes.set_ylim(0, min(1.05 * highest, _MOST_TIMES_BEST * float(best.max())) or 1.0)
        for at in routes.break_evens:
            axes.axvline(at, color=_MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        _mark(axes, routes.break_evens)
        axes.set_xlabel("length")
        axes.set_ylabel(label)
        axes.set_title(_objective_title(routes.objective), pad=28 if routes.break_evens else 8)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))

    _save(Path(path), (7.6, 4.2), draw)


def plot_savings(
    rtts_s: Sequence[float],
    simulations: Sequence[Sequence[Simulation]],
    path: str | os.PathLike[str],
    *,
    objective: str | float = "time",
) -> None:
    """Draw what each policy saves over the best fixed machine, against the round trip.

    Parameters
    ----------
    rtts_s : (n,) sequence of float
        In seconds.
    simulations : n sequences of Simulation
        The same policies for each round trip, fixed ones among them.
    path : path-like
    objective : {"time", "energy"} or float
        What is saved.

    Raises
    ------
    InputError
        No fixed policy to compare with, or as `plot_routes`.
    """
    check_plot_file(Path(path))
    policies = [one.policy for one in simulations[0]]
    fixed = [number for number, name in enumerate(policies) if name.startswith("fixed:")]
    if not fixed:
        raise InputError("savings are over the best fixed machine, and no fixed policy was simulated; add them")
    totals = np.array([[total_cost(one, objective) for one in row] for row in simulations])
    saved = 100 * (1 - totals / totals[:, fixed].min(axis=1, keepdims=True))
    shown_ms = [1e3 * one for one in rtts_s]
    what = objective if isinstance(objective, str) else "weighted sum"

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        others = [number for number in range(len(policies)) if number not in fixed]
        for number in fixed:
            machine = simulations[0][0].machines.index(policies[number].removeprefix("fixed:"))
            axes.plot(
                shown_ms,
                saved[:, number],
                color=_colour(machine),
                linewidth=1.1,
                linestyle=(0, (2, 1.5)),
                label=policies[number],
            )
        # Where they agree they lie on each other: the first is the widest, and the oracle a thin line on top.
        for rank, number in enumerate(others):
            is_oracle = policies[number] == "oracle"
            axes.plot(
                shown_ms,
                saved[:, number],
                color=_INK if is_oracle else _COLOURS[(rank + 4) % len(_COLOURS)],
                linewidth=0.9 if is_oracle else max(1.6, 5.2 - 1.2 * rank),
                solid_capstyle="butt",
                label=policies[number],
                zorder=5 if is_oracle else 3 + rank / 100,
            )
        axes.axhline(0, color=_MUTED, linewidth=0.8)
        # What is much worse than the best fixed machine would press all else flat.
        best = saved[:, others] if others else saved
        low = min(-2.0, float(best.min()) * 1.2)
        axes.set_ylim(low, max(2.0, float(best.max()) * 1.15))
        axes.set_xlim(shown_ms[0], shown_ms[-1])
        axes.set_xlabel("round trip, ms")
        axes.set_ylabel(f"{what} saved over the best fixed machine, %")
        axes.set_title(f"Savings of {what} against the round trip")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
        if bool((saved < low).any()):
            axes.text(
                1.03, 0.0, "lines that leave below:\nworse still", transform=axes.transAxes, color=_MUTED, fontsize=8
            )

    _save(Path(path), (7.6, 4.2), draw)


def plot_mapping(
    network: MachineNetwork, simulation: Simulation, path: str | os.PathLike[str], *, links: Profiles | None = None
) -> None:
    """Draw where inputs went over time: each by its length, the share of each machine, and the link of the end node.

    Parameters
    ----------
    network : MachineNetwork
    simulation : Simulation
    path : path-like
    links : mapping, optional
        As it was simulated with; the one of the end node that changes is drawn.

    Raises
    ------
    InputError
        As `plot_routes`.
    """
    check_plot_file(Path(path))
    changing = _changing(network, links or {})
    end_s = simulation.makespan_s

    def draw(figure: "Figure") -> None:
        heights = [2.2, 1.2, *([1.0] if changing else [])]
        rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _draw_inputs(rows[0], simulation)
        _draw_shares(rows[1], simulation, end_s)
        if changing:
            _draw_link(rows[2], simulation, *changing, end_s)
        rows[0].set_xlim(0, max(end_s, 1e-9))
        rows[-1].set_xlabel("time, s")
        rows[0].set_title(f"Where inputs go: {simulation.policy}")
        figure.align_ylabels(rows)

    _save(Path(path), (7.6, 5.6 if changing else 4.6), draw)


def _draw_inputs(axes: "Axes", simulation: Simulation) -> None:
    every = max(1, -(-len(simulation.lengths) // _MOST_POINTS))
    size = float(np.clip(12_000 / max(1, len(simulation.lengths) // every), 5, 18))
    for place, name in enumerate(simulation.machines):
        own = np.flatnonzero(simulation.machine == place)[::every]
        if len(own):
            axes.scatter(
                simulation.started_s[own],
                simulation.lengths[own],
                s=size,
                color=_colour(place),
                label=name,
                linewidths=0,
                alpha=0.7,
                rasterized=len(own) > 1000,
            )
    axes.set_ylabel("length" + (f" (1 of {every} shown)" if every > 1 else ""))
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), markerscale=min(3.0, (30 / size) ** 0.5))


def _draw_shares(axes: "Axes", simulation: Simulation, end_s: float) -> None:
    edges = np.linspace(0, max(end_s, 1e-9), _BINS + 1)
    counts = np.stack(
        [
            np.histogram(simulation.started_s[simulation.machine == place], edges)[0]
            for place in range(len(simulation.machines))
        ]
    ).astype(np.float64)
    with np.errstate(invalid="ignore"):
        shares = 100 * counts / counts.sum(axis=0)
    base = np.zeros(_BINS)
    for place in range(len(simulation.machines)):
        top = base + np.nan_to_num(shares[place])
        axes.bar(
            edges[:-1], top - base, bottom=base, width=np.diff(edges), align="edge", color=_colour(place), linewidth=0
        )
        base = top
    axes.set_ylim(0, 100)
    axes.set_ylabel("share, %")
    axes.grid(visible=False)


def _draw_link(
    axes: "Axes", simulation: Simulation, name: str, there: LinkProfile, back: LinkProfile, end_s: float
) -> None:
    """Draw a link's round trip where that changes, else its rate to the other machine."""
    if there.by_share:
        at = [simulation.started_s[int(np.ceil(one * len(simulation.started_s)))] for one in there.starts]
    else:
        at = list(there.starts)
    by_delay = len(set(there.delays_s)) > 1 and len(there.delays_s) == len(back.delays_s)
    if by_delay:
        values = [1e3 * (one + other) for one, other in zip(there.delays_s, back.delays_s, strict=True)]
        label = "round trip, ms"
    else:
        values, label = [one / 1e6 for one in there.bits_per_s], "rate, Mbit/s"
    if there.period_s is not None:
        repeats = min(int(end_s / there.period_s) + 1, 1 + _MOST_POINTS // len(at))
        at = [start + number * there.period_s for number in range(repeats) for start in at]
        values = values * repeats
    kept = [number for number, start in enumerate(at) if start <= end_s]
    axes.step(
        [*(at[number] for number in kept), end_s],
        [*(values[number] for number in kept), values[kept[-1]]],
        where="post",
        color=_INK,
        linewidth=1.1,
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    axes.text(1.02, 0.5, name, transform=axes.transAxes, va="center", color=_MUTED)


def _changing(network: MachineNetwork, links: Profiles) -> tuple[str, LinkProfile, LinkProfile] | None:
    """Return the name and both directions of the first link whose profile is not constant, as seen from its source."""
    delays = {(one.source, one.target): one for one in network.links}
    for (source, target), given in links.items():
        profiles = []
        for ends, profile in (((source, target), given), ((target, source), links.get((target, source)))):
            link = delays[ends]
            if profile is None:
                profiles.append(LinkProfile((0.0,), (link.bits_per_s,), (link.delay_s,)))
            elif isinstance(profile, LinkProfile):
                profiles.append(profile)
            else:
                profiles.append(LinkProfile.recorded(profile, link.delay_s))
        if len(profiles[0].starts) > 1:
            return f"{source}\nto {target}", profiles[0], profiles[1]
    return None


def _mark(axes: "Axes", break_evens: Sequence[int]) -> None:
    """Write break-evens above the axes, those that would touch their neighbour on a second line."""
    low, high = axes.get_xlim()
    last = -1.0
    raised = False
    for at in break_evens:
        place = (at - low) / (high - low)
        raised = place - last < 0.06 and not raised
        last = place
        axes.annotate(
            str(at),
            (place, 1.0),
            xycoords="axes fraction",
            xytext=(0, 12 if raised else 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=_MUTED,
        )


def _objective_title(objective: str | float) -> str:
    if objective == "energy":
        return "Energy of the end node against length, with break-evens"
    if objective == "time":
        return "Time against length, with break-evens"
    return f"Time against length; chosen by {1 - float(objective):g} s + {float(objective):g} J, with break-evens"


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _dash(place: int) -> Any:
    return _DASHES[place % len(_DASHES)]


def _figure_type() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise InputError(
            "plots need the package matplotlib, which is not installed; install the extra 'plot', or leave --plot out"
        ) from missing
    return Figure


def _save(path: Path, size_inches: tuple[float, float], draw: Any) -> None:
    figure_type = _figure_type()
    import matplotlib  # type: ignore[import-not-found, unused-ignore]  # an extra

    written = BytesIO()
    # No date in the file: the same figure is the same file.
    about: Mapping[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    with matplotlib.rc_context(_STYLE):
        figure = figure_type(figsize=size_inches, layout="constrained")
        draw(figure)
        figure.savefig(written, format=path.suffix[1:], dpi=160, metadata=dict(about))
    try:
        with draft_of(path) as draft, draft.open("xb") as stream:
            stream.write(written.getvalue())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"plot '{path}' cannot be written: {reason}; "
            "give the path of a file in an existing folder that you may write to"
        ) from error
