"""What splitting takes off the data centre: queries a second over those of sending everything, for mixes of devices."""

from typing import Any

import solvers
from benchmarks.papers.networks import bridge, chosen, network
from benchmarks.papers.neurosurgeon import SETTING
from benchmarks.papers.setting import DEVICES
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.problem import SERVER

GPU_SHARES = (0.0, 0.3, 0.7, 1.0)


def measure(settings: Settings) -> Section:
    """Add up the server's seconds over one query of each network, split for latency or all on the server."""
    names = chosen(SETTING, settings)
    rows: list[dict[str, Any]] = []
    for link in SETTING.links:
        busy = dict.fromkeys(DEVICES, 0.0)
        everything = 0.0
        for name in names:
            net = network(name, settings)
            for device in DEVICES:
                priced = bridge(net, SETTING, settings, device=device, link=link)
                placement = solvers.solve(priced.latency).placement
                own = priced.latency.compute[: len(priced.layers), SERVER]
                busy[device] += float(own[placement[: len(priced.layers)] == SERVER].sum())
            everything += float(own.sum())
        for share in GPU_SHARES:
            mixed = (1 - share) * busy["CPU"] + share * busy["GPU"]
            rows.append(
                {
                    "kind": "data centre",
                    "link": link,
                    "gpu_share": share,
                    "server_s_all": everything,
                    "server_s_split": mixed,
                    "gain": everything / mixed if mixed > 0 else None,
                }
            )
    written = [
        (
            row["link"],
            *(
                "no work left" if one["gain"] is None else f"{one['gain']:.2f} x"
                for one in rows
                if one["link"] == row["link"]
            ),
        )
        for row in rows
        if row["gpu_share"] == GPU_SHARES[0]
    ]
    shown = table(
        "Neurosurgeon, SIMULATED: rate of the data centre over sending everything (published: 1.5 x, up to 6.7 x)",
        ("link", *(f"{100 * share:.0f} % GPU devices" for share in GPU_SHARES)),
        written,
    )
    notes = (
        "Neurosurgeon's throughput: server seconds of one query of each network; the paper simulates queues under load "
        "(BigHouse), here the ratio of the work is the ratio of the rates",
    )
    return Section((), tuple(rows), (shown,), notes)
