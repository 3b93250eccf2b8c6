"""Streams: how many inferences a second against what the busiest of device, link and server allows."""

import time
from dataclasses import replace
from typing import Any

from benchmarks.result import Bar
from benchmarks.runtime.setting import (
    SLOWDOWN,
    LinkProcess,
    ServerProcess,
    folder,
    link_options,
    measured_model,
    on_device_core,
)
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition import Link, load_plan, partition
from partition.adaptation.conditions import Conditions
from partition.adaptation.planner import Planner
from partition.emulation.device import SlowDevice
from partition.remote.options import RemoteOptions
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint

MODELS, QUICK_MODELS = ("bvlc_alexnet", "squeezenet", "inception_v1"), ("squeezenet",)
LINKS = {"wifi": Link.parse("wifi"), "50 Mbit/s": Link.parse("50Mbps", rtt="10ms")}
RANGE = {"bandwidth": "1Mbps..500Mbps"}
LIMIT = 0.90
REQUESTS, QUICK_REQUESTS = 40, 8


def measure(settings: Settings) -> Section:
    """Stream through the placement of most throughput on each link."""
    names = settings.models or (QUICK_MODELS if settings.quick else MODELS)
    rows = [row for name in names for row in _of_model(name, settings)]
    bars = []
    sending = [row for row in rows if row["sent_bytes"]]
    if sending:
        worst = min(row["rate_per_s"] / row["predicted_rate_per_s"] for row in sending)
        bars.append(Bar("stream: rate over the predicted bottleneck's, worst plan that sends", worst, LIMIT, "higher"))
    lines = [
        [
            f"{row['network']}, {row['link']}",
            row["cut"],
            f"{row['predicted_rate_per_s']:.2f}",
            f"{row['rate_per_s']:.2f}",
            f"{row['rate_per_s'] / row['predicted_rate_per_s']:.1%}",
            f"{row['one_by_one_per_s']:.2f}",
        ]
        for row in rows
    ]
    headings = ("plan", "cut", "predicted 1/s", "stream 1/s", "reached", "one by one 1/s")
    title = f"Streams over emulated links, device {SLOWDOWN:g} times slower than the server"
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),))


def _of_model(name: str, settings: Settings) -> list[dict[str, Any]]:
    found = measured_model(name, settings)
    rows = []
    for link_name, link in LINKS.items():
        plan = partition(found.graph, link, device=found.device, server=found.server, adapt=RANGE)
        planner = Planner(plan.choices)
        number = planner.choose_for_rate(Conditions.of_link(link), float("inf"))
        choice, bottleneck_s = plan.choices[number], planner.terms[number].bottleneck_s(Conditions.of_link(link))
        count = settings.repetitions or (QUICK_REQUESTS if settings.quick else REQUESTS)
        with folder() as home:
            plan.save(home / "out")
            saved = replace(load_plan(home / "out"), stages=choice.stages, messages=choice.messages)
            # Beside it threads send and receive on the same core.
            device = SlowDevice(SLOWDOWN, own_time=True)
            with (
                ServerProcess([home / "out"]) as server,
                LinkProcess(server.port, *link_options(link)) as emulated,
                on_device_core(),
                RemoteSession(
                    saved,
                    Endpoint.parse(emulated.url),
                    options=RemoteOptions(adapt=False, shortest_timeout_s=60.0, longest_timeout_s=60.0),
                    threads=1,
                    on_device=device.run,
                ) as session,
            ):
                session.run(found.inputs)
                begun_s = time.perf_counter()
                for _ in range(3):
                    session.run(found.inputs)
                one_by_one = 3 / (time.perf_counter() - begun_s)
                ended = []
                for _ in session.stream(found.inputs for _ in range(count + 4)):
                    ended.append(time.perf_counter())
        # The first ones fill the pipeline.
        rate = (len(ended) - 1 - 4) / (ended[-1] - ended[4])
        rows.append(
            {
                "kind": "stream",
                "network": name,
                "link": link_name,
                "cut": ", ".join(choice.cut) or "-",
                "sent_bytes": sum(message.size_bytes for message in choice.messages),
                "predicted_rate_per_s": 1 / bottleneck_s,
                "rate_per_s": rate,
                "one_by_one_per_s": one_by_one,
            }
        )
    return rows
