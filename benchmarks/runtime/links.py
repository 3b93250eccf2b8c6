"""Steady links: the latency of plans as predicted and as measured, computing told apart from sending."""

import statistics
from typing import Any

import numpy as np

from benchmarks.result import Bar
from benchmarks.runtime.setting import (
    SLOWDOWN,
    LinkProcess,
    Measured,
    ServerProcess,
    folder,
    link_options,
    measured_model,
    on_device_core,
)
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition import Link, load_plan, partition
from partition.emulation.device import SlowDevice
from partition.remote.options import RemoteOptions
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint

MODELS, QUICK_MODELS = ("squeezenet", "inception_v1", "bvlc_alexnet", "resnet50", "shufflenet"), ("squeezenet",)
LINKS = {"4g": Link.parse("4g"), "wifi": Link.parse("wifi"), "50 Mbit/s": Link.parse("50Mbps", rtt="10ms")}
LATENCY_LIMIT, COMPUTE_LIMIT = 0.10, 0.15
RUNS, QUICK_RUNS = 15, 4


def measure(settings: Settings) -> Section:
    """Run each model's best plan on each link, and its best one with a true cut if that is another."""
    names = settings.models or (QUICK_MODELS if settings.quick else MODELS)
    rows = [row for name in names for row in _of_model(name, settings)]
    shown = [row for row in rows if row["sent_bytes"]]
    bars = []
    for what, limit in (("latency", LATENCY_LIMIT), ("compute", COMPUTE_LIMIT)):
        errors = [abs(row[f"{what}_error"]) for row in shown]
        if errors:
            bars.append(Bar(f"links: median error of the {what}", statistics.median(errors), limit, "lower"))
    lines = [
        [
            f"{row['network']}, {row['link']}",
            row["cut"],
            f"{row['predicted_s'] * 1e3:.1f}",
            f"{row['latency_s'] * 1e3:.1f}",
            f"{row['latency_error']:+.1%}",
            f"{row['compute_error']:+.1%}",
            f"{row['link_error']:+.1%}" if row["sent_bytes"] else "-",
            f"{row['spread']:.1%}",
        ]
        for row in rows
    ]
    headings = ("plan", "cut", "predicted ms", "measured ms", "error", "computing", "link", "spread")
    title = f"Latency over emulated links, device {SLOWDOWN:g} times slower than the server: medians"
    notes = ("the bars count plans that send something; spread: half the range between the quartiles",)
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),), notes)


def _of_model(name: str, settings: Settings) -> list[dict[str, Any]]:
    found = measured_model(name, settings)
    rows = []
    for link_name, link in LINKS.items():
        plan = partition(found.graph, link, device=found.device, server=found.server)
        with folder() as home:
            plan.save(home / "out")
            if not any(stage.machine == "server" and stage.parts for stage in plan.stages):
                rows.append(_local(name, link_name, home, found, settings))
                continue
            with (
                ServerProcess([home / "out"]) as server,
                LinkProcess(server.port, *link_options(link)) as emulated,
            ):
                rows.append(_run(name, link_name, emulated.url, home, found, settings))
    return rows


def _run(name: str, link_name: str, url: str, home: Any, found: Measured, settings: Settings) -> dict[str, Any]:
    plan = load_plan(home / "out")
    device = SlowDevice(SLOWDOWN)
    options = RemoteOptions(adapt=False, shortest_timeout_s=30.0)
    with (
        on_device_core(),
        RemoteSession(plan, Endpoint.parse(url), options=options, threads=1, on_device=device.run) as session,
    ):
        # The first ones find cold caches and a young connection.
        for _ in range(3):
            session.run(found.inputs)
        for _ in range(settings.repetitions or (QUICK_RUNS if settings.quick else RUNS)):
            session.run(found.inputs)
        records = session.records[3:]
    taken = np.array([record.taken_s for record in records])
    computing = [sum(stage.taken_s or 0.0 for stage in record.stages) for record in records]
    on_link = [sum(visit.taken_s for visit in record.visits) for record in records]
    return _row(name, link_name, plan, taken, float(np.median(computing)), float(np.median(on_link)))


def _local(name: str, link_name: str, home: Any, found: Measured, settings: Settings) -> dict[str, Any]:
    plan = load_plan(home / "out")
    device = SlowDevice(SLOWDOWN)
    taken = []
    with on_device_core(), plan.session(threads=1) as session:
        session.run(found.inputs)
        for _ in range(3):
            device.run(lambda: session.run(found.inputs))
            taken.append(SLOWDOWN * device.compute_s)
    return _row(name, link_name, plan, np.array(taken), float(np.median(taken)), 0.0)


def _row(name: str, link_name: str, plan: Any, taken: Any, compute_s: float, link_s: float) -> dict[str, Any]:
    planned_compute_s = sum(stage.compute_s for stage in plan.stages)
    planned_link_s = plan.latency_s - planned_compute_s
    latency_s = float(np.median(taken))
    low, high = np.quantile(taken, [0.25, 0.75])
    return {
        "kind": "plan",
        "network": name,
        "link": link_name,
        "cut": ", ".join(plan.cut) or "-",
        "sent_bytes": sum(message.size_bytes for message in plan.messages),
        "predicted_s": plan.latency_s,
        "latency_s": latency_s,
        "latency_error": plan.latency_s / latency_s - 1,
        "compute_error": planned_compute_s / compute_s - 1,
        "link_error": planned_link_s / link_s - 1 if link_s else 0.0,
        "spread": float((high - low) / 2 / latency_s),
    }
