"""Predicted against measured: the stages of a plan, timed in this process."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from partition.plan import Plan
from partition.runtime.parts import open_parts
from partition.runtime.session import Array, SplitSession
from partition.units import format_duration

_WARM_UP_RUNS, _FEWEST_RUNS, _MOST_RUNS, _BUDGET_S = 3, 5, 50, 5.0


@dataclass(frozen=True, slots=True)
class StageTiming:
    """One stage of a plan, as predicted for its machine and as measured here.

    Attributes
    ----------
    stage : int
    machine : {"device", "server"}
    predicted_s : float
    measured_s : float
        Median of the runs, wall time.
    spread_s : float
        Interquartile range.
    runs : int
    threads : int or None
        Of the runtime here: as many as the prediction is for, unless others were asked for; None is its own choice.
    """

    stage: int
    machine: Literal["device", "server"]
    predicted_s: float
    measured_s: float
    spread_s: float
    runs: int
    threads: int | None

    def __str__(self) -> str:
        error = (self.predicted_s - self.measured_s) / self.measured_s
        threads = "" if self.threads is None else f", {self.threads} threads"
        measured, spread = format_duration(self.measured_s), format_duration(self.spread_s)
        return (
            f"stage {self.stage} ({self.machine}): predicted {format_duration(self.predicted_s)}, measured here "
            f"{measured} (spread {spread}, {self.runs} runs{threads}), {error:+.1%}"
        )


def time_stages(plan: Plan, inputs: Mapping[str, Array], *, threads: int | None) -> tuple[StageTiming, ...]:
    """Time the stages of a plan that run something, each with the threads that its prediction is for.

    Parameters
    ----------
    plan : Plan
    inputs : mapping of str to numpy.ndarray
    threads : int, optional
        Of all stages, instead.
    """
    used = {"device": threads or plan.device.threads, "server": threads or plan.server.threads}
    with SplitSession(plan, open_parts(plan, threads=used)) as session:
        return _time(plan, session, inputs, used)


def _time(
    plan: Plan, session: SplitSession, inputs: Mapping[str, Array], used: Mapping[str, int | None]
) -> tuple[StageTiming, ...]:
    for _ in range(_WARM_UP_RUNS):
        session.run(inputs)
    parts_s: list[tuple[float, ...]] = []
    start = time.perf_counter()
    while len(parts_s) < _FEWEST_RUNS or (len(parts_s) < _MOST_RUNS and time.perf_counter() - start < _BUDGET_S):
        session.run(inputs)
        parts_s.append(session.part_s)
    seconds = np.array(parts_s)
    timed = []
    for number, stage in enumerate(plan.stages):
        if stage.parts:
            own = seconds[:, list(stage.parts)].sum(axis=1)
            low, middle, high = np.percentile(own, [25, 50, 75])
            timed.append(
                StageTiming(
                    stage=number,
                    machine=stage.machine,
                    predicted_s=stage.compute_s,
                    measured_s=float(middle),
                    spread_s=float(high - low),
                    runs=len(parts_s),
                    threads=used[stage.machine],
                )
            )
    return tuple(timed)
