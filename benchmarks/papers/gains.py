"""What the optimum saves against each baseline: every network, device and link of a setting, in time and in energy."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

import solvers
from benchmarks.papers.baselines import NAMES, compare, described
from benchmarks.papers.networks import bridge, chosen, factors, network, shape_of
from benchmarks.papers.setting import DEVICES, Setting, setting_rows, setting_table
from benchmarks.result import Bar
from benchmarks.section import Section, geometric_mean, seconds, table
from benchmarks.settings import Settings
from partition.problem import Objective

Row = dict[str, Any]
OBJECTIVES: tuple[Objective, ...] = ("latency", "energy")
PUBLISHED: dict[str, tuple[tuple[str, Objective, str, str], ...]] = {
    "Neurosurgeon": (
        ("latency against all server, mean", "latency", "all server", "3.1 x (up to 40.7 x)"),
        ("energy against all server, mean saved", "energy", "all server", "59.5 % (up to 94.7 %)"),
    ),
    "Wang": (),
    "DADS": (
        ("latency against all device", "latency", "all device", "up to 6.45 x"),
        ("latency against all server", "latency", "all server", "up to 8.08 x"),
    ),
}


def measure_gains(setting: Setting, settings: Settings) -> Section:
    """Solve and compare every case of a setting."""
    rows = [
        _case(setting, settings, name, device, link, objective)
        for objective in OBJECTIVES
        for name in chosen(setting, settings)
        for device in DEVICES
        for link in setting.links
    ]
    paper = setting.paper
    bars = (
        Bar(f"{paper}: baselines cheaper than the optimum", sum(row["violations"] for row in rows), 0, "lower"),
        Bar(f"{paper}: optima that are not proven", sum(not row["proven"] for row in rows), 0, "lower"),
    )
    scale = factors(setting, settings)
    shapes = {name: shape_of(setting, name, settings) for name in setting.sides}
    tables = (
        setting_table(setting, scale, shapes),
        *(
            _table(setting, objective, [row for row in rows if row["objective"] == objective])
            for objective in OBJECTIVES
        ),
        _summary(setting, rows),
    )
    lost = sum(row["dads_believed_too_little"] for row in rows)
    notes = (
        f"{paper}: a gain is the baseline's cost over the optimum's, both on simulated machines; 1.00 = the baseline "
        "finds it too; DADS differs from the optimum where a layer at the edge reads what the cloud made, which its "
        f"network has no price for: {lost} of {len(rows)} cases",
    )
    return Section(bars, (*setting_rows(setting, scale, shapes), *rows), tables, notes)


def _case(setting: Setting, settings: Settings, name: str, device: str, link: str, objective: Objective) -> Row:
    net = network(name, settings)
    priced = bridge(net, setting, settings, device=device, link=link, objective=objective)
    found = compare(net, priced)
    cost = solvers.breakdown(priced.objective, found.placements["optimum"])
    row: Row = {
        "kind": "gain",
        "network": name,
        "device": device,
        "link": link,
        "objective": objective,
        "choice": described(priced, found.placements["optimum"]),
        "cut": [priced.tensors[tensor] for tensor, _, _ in cost.sent_tensors],
        "optimum": found.values["optimum"],
        "proven": found.proven,
        "violations": found.violations,
        "dads_believed_too_little": bool(found.believed < found.values["DADS"] * (1 - 1e-9)),
    }
    return row | {f"gain_over_{one.replace(' ', '_')}": found.gain(one) for one in NAMES}


def _key(name: str) -> str:
    return f"gain_over_{name.replace(' ', '_')}"


def _table(setting: Setting, objective: Objective, rows: Sequence[Row]) -> Table:
    written = []
    for row in rows:
        value = seconds(row["optimum"]) if objective == "latency" else f"{row['optimum']:.3g} J"
        gains = (f"{row[_key(name)]:.2f}" for name in NAMES)
        written.append((row["network"], row["device"], row["link"], row["choice"], value, *gains))
    title = f"{setting.paper}, SIMULATED: {objective} of the optimum, and what each baseline costs in units of it"
    headings = ("network", "device", "link", "on the device, sent", objective, *NAMES)
    return table(title, headings, written)


def _summary(setting: Setting, rows: Sequence[Row]) -> Table:
    written = []
    for objective in OBJECTIVES:
        own = [row for row in rows if row["objective"] == objective]
        for name in NAMES:
            gains = [float(row[_key(name)]) for row in own]
            better = sum(gain > 1.0 + 1e-6 for gain in gains)
            written.append(
                (
                    f"{objective} against {name}",
                    "",
                    f"mean {sum(gains) / len(gains):.2f} x, geometric {geometric_mean(gains):.2f} x, "
                    f"up to {max(gains):.3g} x; better in {better} of {len(gains)}",
                )
            )
    for what, objective, baseline, published in PUBLISHED[setting.paper]:
        gains = [float(row[_key(baseline)]) for row in rows if row["objective"] == objective]
        if "saved" in what:
            saved = [1 - 1 / gain for gain in gains]
            got = f"mean {100 * sum(saved) / len(saved):.1f} %, up to {100 * max(saved):.1f} %"
        else:
            got = f"mean {sum(gains) / len(gains):.2f} x, up to {max(gains):.3g} x"
        written.append((what, published, got))
    return table(
        f"{setting.paper}: published (measured there) and obtained (SIMULATED here)",
        ("what", "published", "obtained"),
        written,
    )
