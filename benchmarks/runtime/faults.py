"""Faults at random moments: whether every answer is right, what each fault costs, how soon work is remote again."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.result import Bar
from benchmarks.runtime.faulty_link import FaultyLink
from benchmarks.runtime.setting import ServerProcess, folder, measured_model
from benchmarks.section import Section, table
from benchmarks.settings import SEED, Settings
from graph_io import single_tensor_cuts
from partition import load_plan, partition
from partition.remote.options import RemoteOptions
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint

MODEL = "squeezenet"
REQUESTS, QUICK_REQUESTS = 1000, 60
FAULT_S, RECOVERY_S, QUICK_RECOVERY_S = 1.0, 6.0, 3.0
REMOTE_AGAIN_S, REMOTE_SHARE = 5.0, 0.95
TIMEOUT_S = 0.5


def measure(settings: Settings) -> Section:
    """Ask at a steady pace while faults come and go."""
    found = measured_model(MODEL, settings)
    cuts = single_tensor_cuts(found.graph)
    cut = cuts[len(cuts) // 3]
    generator = np.random.default_rng(SEED)
    n_requests = settings.repetitions or (QUICK_REQUESTS if settings.quick else REQUESTS)
    recovery_s = QUICK_RECOVERY_S if settings.quick else RECOVERY_S
    with folder() as home:
        partition(found.graph, "100Mbps", device=found.server, server=found.server, cut=[cut]).save(home / "out")
        plan = load_plan(home / "out")
        with plan.session(threads=1) as here:
            wanted = here.run(found.inputs)
        with ServerProcess([home / "out"]) as server, FaultyLink(server.port) as link:
            options = RemoteOptions(adapt=False, shortest_timeout_s=TIMEOUT_S, timeout_factor=1.0)
            with RemoteSession(plan, Endpoint.parse(link.url), options=options, threads=1) as session:
                for _ in range(5):
                    session.run(found.inputs)
                faults = _faults(server, link)
                rounds = 1 if settings.quick else 2
                kinds = [kind for _ in range(rounds) for kind in generator.permutation(list(faults))]
                length_s = len(kinds) * (FAULT_S + recovery_s)
                events: list[tuple[str, float, float]] = []
                wrong = _ask(session, found.inputs, wanted, faults, kinds, n_requests / length_s, recovery_s, events)
                records = session.records[5:]
    return _section(records, events, wrong, session.options.shortest_timeout_s, rounds)


def _faults(server: ServerProcess, link: FaultyLink) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    def mode(name: Any) -> tuple[Callable[[], None], Callable[[], None]]:
        def begin() -> None:
            link.mode = name
            if name == "refuse":
                link.drop()

        def end() -> None:
            link.mode = "forward"

        return begin, end

    return {
        "killed": (server.kill, server.start),
        "frozen": (server.freeze, server.resume),
        "garbage": mode("garbage"),
        "refusing": mode("refuse"),
        "lost in mid-body": mode("cut"),
        "late, beyond the time-out": mode("late"),
        "link frozen": mode("freeze"),
    }


def _ask(
    session: RemoteSession,
    inputs: Any,
    wanted: Any,
    faults: dict[str, tuple[Callable[[], None], Callable[[], None]]],
    kinds: list[str],
    pace_per_s: float,
    recovery_s: float,
    events: list[tuple[str, float, float]],
) -> int:
    """Ask, and let faults begin and end between two requests; return how many answers were wrong."""
    wrong = 0
    next_s = time.time()
    for kind in kinds:
        begin, end = faults[kind]
        begin()
        begun_s = time.time()
        ended_s: float | None = None
        while ended_s is None or time.time() < ended_s + recovery_s:
            if ended_s is None and time.time() >= begun_s + FAULT_S:
                end()
                ended_s = time.time()
                events.append((kind, begun_s, ended_s))
            found = session.run(inputs)
            wrong += any(not np.array_equal(found[name], value) for name, value in wanted.items())
            next_s = max(next_s + 1 / pace_per_s, time.time() - 1.0)
            time.sleep(max(0.0, next_s - time.time()))
    return wrong


def _section(
    records: Any, events: list[tuple[str, float, float]], wrong: int, timeout_s: float, rounds: int
) -> Section:
    usual_s = statistics.median(record.taken_s for record in records if record.fault is None)
    rows: list[dict[str, Any]] = []
    for number, (kind, begun_s, ended_s) in enumerate(events):
        until_s = events[number + 1][1] if number + 1 < len(events) else float("inf")
        own = [record for record in records if begun_s <= record.started_s < until_s]
        hit = [record for record in own if any(visit.fault for visit in record.visits)]
        after = [record for record in own if record.started_s >= ended_s]
        again = next((one.started_s - ended_s for one in after if _is_remote(one)), float("inf"))
        recovered_s = ended_s + min(REMOTE_AGAIN_S, 0.8 * (until_s - ended_s))
        late = [record for record in after if record.started_s >= recovered_s]
        rows.append(
            {
                "kind": "fault",
                "fault": kind,
                "requests": len(own),
                "hit": len(hit),
                "worst_lost_s": max((record.taken_s - usual_s for record in own), default=0.0),
                "remote_again_s": again if np.isfinite(again) else None,
                "remote_share": statistics.fmean(map(_is_remote, late)) if late else 1.0,
            }
        )
    lost = max(row["worst_lost_s"] for row in rows)
    late_rows = [row["remote_share"] for row in rows]
    bars = (
        Bar("faults: wrong or missing answers", float(wrong), 0.0, "lower"),
        Bar("faults: most time lost by a request over the time-out", lost / timeout_s, 1.5, "lower"),
        Bar("faults: share of requests remote again after 5 s", statistics.fmean(late_rows), REMOTE_SHARE, "higher"),
    )
    lines = []
    for kind in dict.fromkeys(row["fault"] for row in rows):
        mine = [row for row in rows if row["fault"] == kind]
        back = [row["remote_again_s"] for row in mine if row["remote_again_s"] is not None]
        lines.append(
            [
                kind,
                str(len(mine)),
                str(sum(row["requests"] for row in mine)),
                str(sum(row["hit"] for row in mine)),
                f"{max(row['worst_lost_s'] for row in mine) * 1e3:.0f}",
                f"{max(back) * 1e3:.0f}" if len(back) == len(mine) else "never",
            ]
        )
    headings = ("server or link", "times", "requests", "met it", "most lost ms", "remote again after ms")
    title = (
        f"{len(records)} requests of {usual_s * 1e3:.1f} ms beside faults of {FAULT_S:g} s, time-out {timeout_s:g} s"
    )
    notes = (f"{wrong} wrong answers; the device holds all parts; {rounds} rounds of all faults in random order",)
    return Section(bars, tuple(rows), (table(title, headings, lines),), notes)


def _is_remote(record: Any) -> bool:
    return any(stage.ran_on == "server" for stage in record.stages)
