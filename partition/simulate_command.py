"""The command ``dnn-partition simulate``: policies over a network of machines, on many inputs and links that change."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partition.arguments import ForceOption, JsonOption
from partition.errors import InputError
from partition.route_command import NetworkArgument, ObjectiveOption, PlotOption, check_plot, read_objective
from partition.terminal import console, show_json, steps

if TYPE_CHECKING:
    from rich.table import Table

    from partition.routing.network import MachineNetwork
    from partition.routing.outcome import Simulation
    from partition.routing.profiles import Profiles

_DISTRIBUTIONS = ("gamma", "lognormal", "uniform", "constant")
_MOST_RTTS = 1000


def simulate(
    network: NetworkArgument,
    lengths: Annotated[
        str,
        typer.Option(
            "--lengths",
            "-l",
            metavar="FILE|DISTRIBUTION",
            help="A file of whole numbers, or such as gamma:mean=11,deviation=4; lognormal, uniform (least, most), "
            "constant (length).",
            show_default=False,
        ),
    ],
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", help="How many inputs.", show_default="10000, or all of FILE")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", "-p", help="fixed:MACHINE, routed, oracle, ...; repeatable.", show_default="all"),
    ] = None,
    rtt: Annotated[
        str | None,
        typer.Option(
            "--rtt", metavar="A,B,...", help="Round trips of the link, one after the other, equal shares of the inputs."
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option("--rtt-sweep", metavar="LOW..HIGH:N", help="One simulation for each of N constant round trips."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Recorded rate of the link, from its first machine.")
    ] = None,
    back_trace: Annotated[
        Path | None, typer.Option("--back-trace", metavar="FILE", help="Recorded rate of the other direction.")
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="The link that they are of.", show_default="the end node's, if it has one"),
    ] = None,
    objective: ObjectiveOption = "time",
    stale: Annotated[str, typer.Option(help="Age at which news of a link are too old, or 'never'.")] = "60s",
    every: Annotated[
        str | None,
        typer.Option(
            "--every", metavar="TIME", help="An input arises every 50ms, say.", show_default="when one is done"
        ),
    ] = None,
    noise: Annotated[bool, typer.Option(help="Run times vary as they did when they were measured.")] = True,
    seed: Annotated[int, typer.Option(help="Of lengths and noise.")] = 0,
    plot: PlotOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare routers, fixed machines and an oracle."""
    from partition.routing.network import load_network
    from partition.routing.simulator import policies_of
    from partition.routing.simulator import simulate as simulate_policy

    if plot is not None:
        check_plot(plot, force=force)
    loaded = load_network(network)
    numbers = _lengths(lengths, count, seed, loaded)
    ends = _link(loaded, link, needed=any(one is not None for one in (rtt, sweep, trace, back_trace)))
    given = [name for name, one in (("--rtt", rtt), ("--rtt-sweep", sweep), ("--trace", trace)) if one is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both say what the link does; give one of them")
    if back_trace is not None and trace is None:
        raise InputError("--back-trace is the other direction of --trace; give that, too")
    goal = read_objective(objective)
    policies = tuple(policy) if policy else policies_of(loaded)
    for one in policies:
        if policies.count(one) > 1:
            raise InputError(f"--policy {one} is given twice; keep one")
    options: dict[str, Any] = {
        "objective": goal,
        "stale_s": _stale_s(stale),
        "seed": seed,
        "noise": noise,
        "arrivals_s": _arrivals(every, len(numbers)),
    }
    rtts_s = None if sweep is None else _swept(sweep)
    if rtts_s is not None and plot is not None and not any(one.startswith("fixed:") for one in policies):
        raise InputError("--plot of --rtt-sweep shows savings over the best fixed machine; add --policy fixed:MACHINE")
    conditions = (
        [_profiles(loaded, ends, rtt, trace, back_trace)] if rtts_s is None else _constant(loaded, ends, rtts_s)
    )
    found: list[list[Simulation]] = []
    start_s = time.perf_counter()
    with steps(1) as step:
        step.start(f"simulating {len(numbers)} inputs")
        total = len(conditions) * len(policies)
        for profiles in conditions:
            found.append([])
            for one in policies:
                found[-1].append(simulate_policy(loaded, numbers, policy=one, links=profiles, **options))
                step.share(sum(map(len, found)) / total)
    taken_s = time.perf_counter() - start_s
    if plot is not None:
        _plot(loaded, found, rtts_s, conditions[0], goal, plot)
    if as_json:
        show_json(_content(found, rtts_s, numbers, goal, plot) | {"lengths": lengths, "seed": seed})
        return
    shown = console()
    if rtts_s is None:
        shown.print(_table(found[0], goal))
        if any(one.policy == "oracle" for one in found[0]):
            shown.print("loss: over the oracle, of what the objective counts")
    else:
        shown.print(_sweep_table(found, rtts_s, goal))
    shown.print(f"{len(numbers)} inputs of {_about(numbers)}; simulated in {taken_s:.2f} s", soft_wrap=True)
    beyond = max(one.extrapolated for row in found for one in row)
    if beyond:
        shown.print(
            f"up to {beyond} inputs ran beyond what was measured for their machine: extrapolated", soft_wrap=True
        )
    if plot is not None:
        shown.print(f"written: {plot}", soft_wrap=True)


def _lengths(text: str, count: int | None, seed: int, network: "MachineNetwork") -> Any:
    from partition.routing.length_draws import draw_lengths, read_lengths

    if count is not None and count < 1:
        raise InputError(f"--count is {count}; give 1 or more")
    if seed < 0:
        raise InputError(f"--seed is {seed}; give a whole number of 0 or more")
    if text.partition(":")[0] in _DISTRIBUTIONS:
        home = network.machines[network.place(network.end_node)].latency
        return draw_lengths(text, 10_000 if count is None else count, seed=seed, least=home.least, most=home.most)
    found = read_lengths(text)
    if count is not None and count > len(found):
        raise InputError(f"--count is {count}, and '{text}' holds {len(found)} lengths; give that many at the most")
    return found[:count]


def _link(network: "MachineNetwork", text: str | None, *, needed: bool) -> tuple[str, str]:
    near = [one.target for one in network.links if one.source == network.end_node]
    if text is None:
        if needed and len(near) != 1:
            links = ", ".join(f"{network.end_node}:{one}" for one in near) or "none"
            raise InputError(f"the end node has the links {links}; say with --link A:B which one changes")
        return network.end_node, near[0] if near else ""
    if not needed:
        raise InputError("--link says whose round trip or trace is given; give --rtt, --rtt-sweep or --trace, too")
    for one in network.links:
        if text == f"{one.source}:{one.target}":
            return one.source, one.target
    known = ", ".join(f"{one.source}:{one.target}" for one in network.links)
    raise InputError(f"--link {text!r}: the network has no such link; it has {known or 'none'}")


def _stale_s(text: str) -> float:
    from partition.units import parse_duration

    return float("inf") if text == "never" else parse_duration(text, what="--stale")


def _arrivals(text: str | None, count: int) -> Any:
    if text is None:
        return None
    import numpy as np

    from partition.units import parse_duration

    return parse_duration(text, what="--every") * np.arange(count)


def _swept(text: str) -> list[float]:
    from partition.units import parse_duration

    ends, separator, number = text.rpartition(":")
    low, dots, high = ends.partition("..")
    legal = number.isascii() and number.isdigit() and len(number) <= 4 and 2 <= int(number) <= _MOST_RTTS
    if not separator or not dots or not legal:
        raise InputError(
            f"--rtt-sweep {text!r}: write LOW..HIGH:N for 2 to {_MOST_RTTS} round trips, as 10ms..400ms:14"
        )
    low_s, high_s = (parse_duration(one, what="--rtt-sweep") for one in (low, high))
    if not low_s < high_s:
        raise InputError(f"--rtt-sweep {text!r}: give the lower round trip first")
    last = int(number) - 1
    return [low_s + (high_s - low_s) * at / last for at in range(last + 1)]


def _profiles(
    network: "MachineNetwork", ends: tuple[str, str], rtt: str | None, trace: Path | None, back_trace: Path | None
) -> "Profiles":
    from partition.emulation.traces import read_trace
    from partition.routing.profiles import round_trips
    from partition.units import parse_duration

    if rtt is not None:
        return round_trips(network, *ends, [parse_duration(one.strip(), what="--rtt") for one in rtt.split(",")])
    if trace is None:
        return {}
    there = read_trace(trace)
    return {ends: there} if back_trace is None else {ends: there, ends[::-1]: read_trace(back_trace)}


def _constant(network: "MachineNetwork", ends: tuple[str, str], rtts_s: list[float]) -> "list[Profiles]":
    from partition.routing.profiles import round_trips

    return [round_trips(network, *ends, [one]) for one in rtts_s]


def _plot(
    network: "MachineNetwork",
    found: "list[list[Simulation]]",
    rtts_s: list[float] | None,
    profiles: "Profiles",
    objective: str | float,
    path: Path,
) -> None:
    from partition.routing.plots import plot_mapping, plot_savings

    if rtts_s is not None:
        plot_savings(rtts_s, found, path, objective=objective)
        return
    names = [one.policy for one in found[0]]
    plot_mapping(network, found[0][names.index("routed") if "routed" in names else 0], path, links=profiles)


def _row(one: "Simulation", rivals: "list[Simulation]", objective: str | float) -> dict[str, Any]:
    from partition.routing.totals import best_fixed_cost, total_cost

    cost, fixed = total_cost(one, objective), best_fixed_cost(rivals, objective)
    oracle = next((total_cost(rival, objective) for rival in rivals if rival.policy == "oracle"), None)
    return {
        "policy": one.policy,
        "total_s": one.total_s,
        "makespan_s": one.makespan_s,
        "joules": None if one.power is None else one.total_joules,
        "over_oracle": None if oracle is None else cost / oracle - 1,
        "saved_over_best_fixed": None if fixed is None else 1 - cost / fixed,
        "shares": one.shares,
        "pings": one.pings,
        "probes": one.probes,
        "retries": one.retries,
        "time_limits": one.time_limits,
        "lost_messages": one.lost,
        "extrapolated": one.extrapolated,
    }


def _content(
    found: "list[list[Simulation]]", rtts_s: list[float] | None, numbers: Any, objective: str | float, plot: Path | None
) -> dict[str, Any]:
    rows = [
        ({} if rtts_s is None else {"rtt_s": rtts_s[at]}) | _row(one, row, objective)
        for at, row in enumerate(found)
        for one in row
    ]
    return {
        "inputs": len(numbers),
        "mean_length": float(numbers.mean()),
        "objective": objective,
        "policies": rows,
        "plot": None if plot is None else str(plot),
    }


def _table(row: "list[Simulation]", objective: str | float) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    joules = row[0].power is not None
    has_oracle = any(one.policy == "oracle" for one in row)
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    made.add_column("policy", overflow="fold", min_width=len("routed-without-pings"))
    headings = ["total s", *(["loss"] if has_oracle else []), *(["joules"] if joules else []), "pings"]
    for heading in headings:
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("ran on", overflow="fold")
    for one in row:
        figures = _row(one, row, objective)
        cells = [f"{one.total_s:.5g}"]
        cells += [f"{figures['over_oracle']:+.2%}"] if has_oracle else []
        cells += [f"{one.total_joules:.4g}"] if joules else []
        shares = ", ".join(f"{name} {share:.1%}" for name, share in one.shares.items() if share)
        made.add_row(Text(one.policy), *cells, str(one.pings), Text(shares))
    return made


def _sweep_table(found: "list[list[Simulation]]", rtts_s: list[float], objective: str | float) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from partition.routing.totals import best_fixed_cost, total_cost
    from partition.units import format_duration

    what = {"time": "total seconds", "energy": "total joules of the end node"}.get(str(objective), "weighted total")
    made = Table(title=what, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    made.add_column("round trip", justify="right")
    others = [at for at, one in enumerate(found[0]) if not one.policy.startswith("fixed:")]
    fixed = len(others) < len(found[0])
    for heading in (*(["best fixed"] if fixed else []), *(found[0][at].policy for at in others)):
        made.add_column(Text(heading), justify="right", overflow="fold")
    for rtt_s, row in zip(rtts_s, found, strict=True):
        best = best_fixed_cost(row, objective)
        cells = [
            *([] if best is None else [f"{best:.5g}"]),
            *(f"{total_cost(row[at], objective):.5g}" for at in others),
        ]
        made.add_row(format_duration(rtt_s), *cells)
    return made


def _about(numbers: Any) -> str:
    return f"length {int(numbers.min())} to {int(numbers.max())}, mean {numbers.mean():.1f}"
