"""Decision quality: the cut that predicted costs choose, paid at measured ones, against the best cut."""

import numpy as np

from benchmarks.accuracy.zoo_results import SLOWDOWN, zoo_results
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import Settings

LOSS_LIMIT, FEWEST_CASES = 0.01, 30


def measure(settings: Settings) -> Section:
    """Judge the cases whose best cut is neither all-device nor all-server."""
    results = zoo_results(settings)
    rows = [
        {"kind": "decision", "network": result.name, "link": one.link, "interior": one.interior, "loss": one.loss}
        for result in results
        for one in result.decisions
    ]
    interior = [row for row in rows if row["interior"]]
    losses = np.array([row["loss"] for row in interior])
    bars = [Bar("decisions: cases whose best cut is interior", float(len(interior)), FEWEST_CASES, "higher")]
    if interior:
        name = "decisions: mean loss of the chosen cut where the best is interior"
        bars.append(Bar(name, float(np.mean(losses)), LOSS_LIMIT, "lower"))
    lines = []
    for result in results:
        own = [one for one in result.decisions if one.interior]
        if own:
            lost = [one.loss for one in own]
            right = sum(loss < 1e-9 for loss in lost)
            lines.append([result.name, str(len(own)), str(right), f"{np.mean(lost):.2%}", f"{max(lost):.2%}"])
    title = f"Cuts chosen on predicted costs, device {SLOWDOWN:g} times slower than the server, 16 links"
    made = table(title, ("network", "interior cases", "same cost as best", "mean loss", "worst"), lines)
    everywhere = np.array([row["loss"] for row in rows])
    worst = f"worst loss {np.max(losses, initial=0.0):.2%}"
    notes = (
        f"interior: {len(interior)} of {len(rows)} cases, {worst}; all cases: mean {np.mean(everywhere):.2%}, "
        f"worst {np.max(everywhere):.2%}",
    )
    return Section(tuple(bars), tuple(rows), (made,), notes)
