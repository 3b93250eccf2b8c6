"""Links that change: a plan that follows the network against fixed ones and an oracle, on the same traces."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result import Bar
from benchmarks.runtime.setting import (
    SLOWDOWN,
    LinkProcess,
    Measured,
    ServerProcess,
    fixed_plans,
    folder,
    measured_model,
    on_device_core,
    wait_until,
)
from benchmarks.section import Section, table
from benchmarks.settings import SEED, Settings
from partition import Link, Plan, load_plan, partition
from partition.adaptation.conditions import Conditions
from partition.emulation.device import SlowDevice
from partition.emulation.profile import RateProfile
from partition.emulation.traces import read_traces
from partition.remote.options import RemoteOptions
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint

MODEL, QUICK_MODEL = "bvlc_alexnet", "squeezenet"
RTT_S = 0.02
RANGE = {"bandwidth": "0.2Mbps..500Mbps", "downlink": "0.2Mbps..500Mbps", "rtt": "0ms..200ms"}
ORACLE_LIMIT, FIXED_LIMIT, FEWEST_CUTS = 1.03, 1.01, 3
SECONDS, QUICK_SECONDS = 60.0, 6.0
# Recorded traces tell bytes a millisecond; a rate is what passes in so long.
AVERAGED_S = 0.5
# Made-up links change their rate after so many seconds. With the shorter ones each tenth request meets a rate that
# nobody can have seen: no bar.
LENGTHS_S = (10.0, 4.0)
HARDEST = "steps of 4 s"


@dataclass(frozen=True, slots=True)
class Trace:
    """A named profile of both directions, and the files that the link reads it from."""

    name: str
    uplink: RateProfile
    downlink: RateProfile


def measure(settings: Settings) -> Section:
    """Run all policies on each trace, from its beginning, with a request every so many seconds."""
    name = settings.models[0] if settings.models else (QUICK_MODEL if settings.quick else MODEL)
    found = measured_model(name, settings)
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    rows: list[dict[str, Any]] = []
    with folder() as home:
        link = Link.parse("10Mbps", downlink="20Mbps", rtt=RTT_S)
        partition(found.graph, link, device=found.device, server=found.server, adapt=RANGE).save(home / "out")
        plan = load_plan(home / "out")
        with ServerProcess([home / "out"]) as server:
            for trace in _traces(settings):
                rows += _on_trace(trace, plan, found, server.port, home, seconds)
    bars = []
    used = {row["trace"]: row["cuts"] for row in rows if row["policy"] == "adaptive"}
    for trace in dict.fromkeys(row["trace"] for row in rows):
        own = {row["policy"]: row for row in rows if row["trace"] == trace}
        simple = min(own["all on the device"]["mean_s"], own["all on the server"]["mean_s"])
        ratio = own["adaptive"]["mean_s"] / own["oracle"]["mean_s"]
        if trace != HARDEST:
            bars.append(Bar(f"traces: adaptive over oracle, {trace}", ratio, ORACLE_LIMIT, "lower"))
        better = own["adaptive"]["mean_s"] / simple
        bars.append(Bar(f"traces: adaptive over the better simple one, {trace}", better, FIXED_LIMIT, "lower"))
    most = max(count for trace, count in used.items() if trace != HARDEST)
    bars.append(Bar("traces: distinct cuts in use in the setting with most", float(most), FEWEST_CUTS, "higher"))
    lines = [
        [
            f"{row['trace']}, {row['policy']}",
            str(row["requests"]),
            f"{row['mean_s'] * 1e3:.1f}",
            f"{row['p95_s'] * 1e3:.1f}",
            str(row["cuts"]),
            f"{row['prediction_error']:.1%}",
            str(row["faults"]),
        ]
        for row in rows
    ]
    headings = ("trace, policy", "requests", "mean ms", "p95 ms", "cuts in use", "prediction off by", "finished here")
    title = f"{name} over links that change, device {SLOWDOWN:g} times slower than the server"
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),))


def _traces(settings: Settings) -> list[Trace]:
    generator = np.random.default_rng(SEED)
    found = []
    for length_s in LENGTHS_S:
        # Between a bad cell and good Wi-Fi, any next to any.
        rates = np.exp(generator.uniform(np.log(1e6), np.log(150e6), int(200 / length_s)))
        steps = [(length_s * number, float(rate)) for number, rate in enumerate(rates)]
        downlink = RateProfile.stepped([(start_s, 2 * rate) for start_s, rate in steps])
        found.append(Trace(f"steps of {length_s:g} s", RateProfile.stepped(steps), downlink))
    if settings.traces is not None:
        found += [
            Trace(one.name, one.uplink, one.downlink if one.downlink is not None else one.uplink)
            for one in read_traces(settings.traces)
        ]
    return found


def _on_trace(trace: Trace, plan: Plan, found: Measured, port: int, home: Path, seconds: float) -> list[dict[str, Any]]:
    up, down = home / "up.csv", home / "down.csv"
    for path, profile in ((up, trace.uplink), (down, trace.downlink)):
        _write_rows(path, profile)
    fixed = fixed_plans(plan)
    period_s = 1.05 * max(min(one.latency_s for one in plan.choices if not one.messages), 0.05)
    rows = []
    for policy in ("adaptive", "oracle", *fixed):
        own = fixed.get(policy, plan)
        options = RemoteOptions(adapt=policy not in fixed, shortest_timeout_s=2.0, timeout_factor=20.0)
        arguments = ["--trace", str(up), "--downlink-trace", str(down), "--format", "rows", "--rtt", f"{RTT_S * 1e3}ms"]
        with LinkProcess(port, *arguments) as emulated:
            told = _oracle(trace, emulated.start_s, plan) if policy == "oracle" else None
            device = SlowDevice(SLOWDOWN)
            with (
                on_device_core(),
                RemoteSession(
                    own, Endpoint.parse(emulated.url), options=options, threads=1, on_device=device.run, told=told
                ) as session,
            ):
                rows.append(_policy_row(trace, policy, session, found, emulated.start_s, period_s, seconds))
    return rows


def _policy_row(
    trace: Trace,
    policy: str,
    session: RemoteSession,
    found: Measured,
    start_s: float,
    period_s: float,
    seconds: float,
) -> dict[str, Any]:
    # All policies ask at the same moments of the trace, or as soon as the request before is answered.
    moment_s = start_s + 1.0
    wait_until(moment_s)
    while time.monotonic() < start_s + 1.0 + seconds:
        session.run(found.inputs)
        moment_s += period_s
        wait_until(moment_s)
    records = list(session.records)
    taken = [record.taken_s for record in records]
    errors = [abs(record.predicted_s / record.taken_s - 1) for record in records]
    return {
        "kind": "policy",
        "trace": trace.name,
        "policy": policy,
        "requests": len(records),
        "mean_s": statistics.fmean(taken),
        "p95_s": float(np.quantile(taken, 0.95)),
        "cuts": len({record.choice for record in records}),
        "prediction_error": statistics.median(errors),
        "faults": sum(any(visit.fault for visit in record.visits) for record in records),
        "taken_s": taken,
        "choices": [record.choice for record in records],
    }


def _oracle(trace: Trace, start_s: float, plan: Plan) -> Callable[[], Conditions]:
    uplink, downlink = (one.averaged(AVERAGED_S) for one in (trace.uplink, trace.downlink))

    def told() -> Conditions:
        now_s = time.monotonic() - start_s
        return Conditions(max(1e3, uplink.rate_at(now_s)), max(1e3, downlink.rate_at(now_s)), RTT_S)

    return told


def _write_rows(path: Path, profile: RateProfile) -> None:
    lines = [
        f"{start_s:.6f} {rate / 1e6:.6f}" for start_s, rate in zip(profile.starts_s, profile.bits_per_s, strict=True)
    ]
    if profile.period_s is not None:
        lines.append(f"{profile.period_s:.6f} {profile.bits_per_s[-1] / 1e6:.6f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
