"""What the sections share: a model measured on both machines, and a plan run on an emulated device and link."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from benchmarks.runtime.setting import BETWEEN_RUNS_S, SLOWDOWN, slowed
from partition import Link, Plan
from partition.emulation.device import SlowDevice, pinned
from partition.emulation.link import EmulatedLink
from partition.latency.measure import measure
from partition.latency.timings import Timings
from partition.runtime.parts import open_parts
from partition.runtime.session import open_step

BANDWIDTHS_MBIT_S = (1, 2, 5, 10, 20)
RTT_S = 0.01
Array = NDArray[Any]


def link_at(mbit_s: float) -> Link:
    """Return a link of one rate both ways."""
    return Link.parse(f"{mbit_s}Mbps", rtt=RTT_S)


def both_machines(model: Any, inputs: Mapping[str, Array]) -> tuple[Timings, Timings]:
    """Measure a model at one thread, as a device that is slower and as the server."""
    server = measure(model, inputs=inputs, threads=1, pause_s=BETWEEN_RUNS_S)
    return slowed(server, SLOWDOWN), server


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this process on the first core that it may use."""
    with pinned(min(os.sched_getaffinity(0))):
        yield


def run_emulated(plan: Plan, inputs: Sequence[Mapping[str, Array]]) -> tuple[list[dict[str, Array]], float]:
    """Run a plan on a slow device and an emulated link, request by request; return outputs and median seconds."""
    link = EmulatedLink.of(plan.link)
    device = SlowDevice(SLOWDOWN)
    steps = [
        open_step(part.file, session) for part, session in zip(plan.parts, open_parts(plan, threads=1), strict=True)
    ]
    outputs, taken = [], []
    with on_one_core():
        for number, one in enumerate([inputs[0], *inputs]):
            begun_s = link.clock.now_s()
            values: dict[str, Any] = dict(one)
            for index, stage in enumerate(plan.stages):

                def work(stage: Any = stage, values: dict[str, Any] = values) -> None:
                    for part in stage.parts:
                        step = steps[part]
                        produced = step.run({name: values[name] for name in step.inputs})
                        values.update(zip(step.outputs, produced, strict=True))

                if stage.machine == "device":
                    device.run(work)
                else:
                    work()
                for message in plan.messages[index : index + 1]:
                    link.deliver(message.direction, sum(values[name].nbytes for name in message.carried))
            if number:  # the first one warms up
                taken.append(link.clock.now_s() - begun_s)
                outputs.append({name: values[name] for name in plan.model.output_names})
    return outputs, statistics.median(taken)
