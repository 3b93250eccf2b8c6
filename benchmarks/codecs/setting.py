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
from partition.plan_records import PlanStage
from partition.remote.local_parts import Runner
from partition.runtime.parts import open_parts
from partition.runtime.session import SplitSession

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


class EmulatedSession(SplitSession):
    """A plan whose device's stages run on a slow device, and whose messages cross an emulated link."""

    def __init__(self, plan: Plan, on_device: Runner) -> None:
        super().__init__(plan, open_parts(plan, threads=1))
        self.link = EmulatedLink.of(plan.link)
        self._on_device, self._stages, self._messages = on_device, plan.stages, plan.messages
        self._outputs = plan.model.output_names

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run stage by stage, and wait as long as the device and the link would take."""
        values: dict[str, Any] = dict(inputs)
        for index, stage in enumerate(self._stages):

            def work(stage: PlanStage = stage) -> None:
                for part in stage.parts:
                    step = self._steps[part]
                    produced = step.run({name: values[name] for name in step.inputs})
                    values.update(zip(step.outputs, produced, strict=True))

            if stage.machine == "device":
                self._on_device(work)
            else:
                work()
            for message in self._messages[index : index + 1]:
                self.link.deliver(message.direction, sum(values[name].nbytes for name in message.carried))
        return {name: values[name] for name in self._outputs}


def run_emulated(plan: Plan, inputs: Sequence[Mapping[str, Array]]) -> tuple[list[dict[str, Array]], float]:
    """Run a plan on a slow device and an emulated link, request by request; return outputs and median seconds."""
    outputs, taken = [], []
    with EmulatedSession(plan, SlowDevice(SLOWDOWN).run) as session, on_one_core():
        for number, one in enumerate([inputs[0], *inputs]):
            begun_s = session.link.clock.now_s()
            found = session.run(one)
            if number:  # the first one warms up
                taken.append(session.link.clock.now_s() - begun_s)
                outputs.append(found)
    return outputs, statistics.median(taken)
