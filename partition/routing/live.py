"""Route inputs by their length over machines that run: each holds the whole model, and a router of its own.

The machines are in this process, joined by emulated links and slowed as the network says; or a V2 server takes the
place of one. Their routers are those of the simulation, on a real clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partition.closing import Closing
from partition.emulation.clock import Clock, RealClock
from partition.emulation.device import SlowDevice
from partition.emulation.link import EmulatedLink
from partition.emulation.profile import RateProfile
from partition.errors import InputError
from partition.routing.hops import Array, EmulatedHop, Hop, Message
from partition.routing.live_machine import LiveMachine, Runner, size_of
from partition.routing.network import MachineNetwork, RoutedLink
from partition.routing.open_dims import length_of, open_axes
from partition.routing.router import Router

if TYPE_CHECKING:
    from graph_io import Model, ModelSource
    from partition.plan import Plan

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class RoutedRun:
    """How one input was run.

    Attributes
    ----------
    length : int
    route : tuple of str
        The machines that it went through, from the end node to the one that ran it.
    action : {"keep", "send", "probe"}
        Of the end node's last decision.
    expected_s, taken_s : float
        From the call to the result: by the last decision, and in truth.
    pings : int
        That it waited for.
    faults : tuple of str
        Why answers did not come that the end node waited for.
    extrapolated : bool
        Whether its length is outside of what was measured for the machine that the end node chose.
    """

    length: int
    route: tuple[str, ...]
    action: str
    expected_s: float
    taken_s: float
    pings: int
    faults: tuple[str, ...]
    extrapolated: bool

    @property
    def machine(self) -> str:
        """The machine that ran it."""
        return self.route[-1]


class RoutedSession(Closing):
    """A network of machines that run, as its end node sees it; use it as a context manager. Safe for several threads.

    Parameters
    ----------
    network : MachineNetwork
        What all routers know when it begins.
    runners : mapping of str to callable
        What runs the model on each machine that is here: arrays by input in, arrays by output out.
    hops : mapping of str to Hop, optional
        Ways from the end node to the machines that are not here. Each machine is in one of the two.
    axes : mapping of str to tuple of int
        Where the length stands in the inputs; see `partition.routing.open_dims.open_axes`.
    dim : str
        Its name, for messages.
    links : mapping of (str, str) to EmulatedLink, optional
        Each by the names of the two machines, its uplink from the first to the second. Default, and for those that are
        not in it: constant, as in the network.
    clock : Clock
        Of all links; each router's own clock is `clocks_s` ahead of it.
    objective, stale_s, by_pings
        As for `partition.routing.router.Router`.
    clocks_s : mapping of str to float, optional
        By how many seconds the clock of a machine is ahead.
    check : callable, optional
        Refuses inputs that the model does not take, before any machine gets them.
    in_threads : bool
        Whether messages travel in threads of their own, so that a time limit ends the wait for them. Without: one input
        at a time, as on a virtual clock.

    Attributes
    ----------
    machines : dict of str to LiveMachine
        Those that are here.
    last : RoutedRun or None
        How the last input was run.

    Raises
    ------
    InputError
        A link that the network has not, or that is on another clock; a machine that is not in the network.
    """

    def __init__(
        self,
        network: MachineNetwork,
        runners: Mapping[str, Runner],
        axes: Mapping[str, tuple[int, ...]],
        *,
        dim: str = "seq",
        hops: Mapping[str, Hop] | None = None,
        links: Mapping[Pair, EmulatedLink] | None = None,
        clock: Clock | None = None,
        objective: str | float = "time",
        stale_s: float = 60.0,
        by_pings: bool = False,
        clocks_s: Mapping[str, float] | None = None,
        check: Callable[[Mapping[str, Array]], None] | None = None,
        in_threads: bool = True,
    ) -> None:
        self._network, self._axes, self._dim, self._check = network, dict(axes), dim, check
        self._clock: Clock = RealClock() if clock is None else clock
        apart = hops or {}
        for name in (*runners, *apart):
            network.place(name)
        for name in network.names:
            if (name in runners) == (name in apart):
                raise InputError(f"machine {name!r} needs a runner here, or a way from the end node to it; give one")
        if network.end_node in apart:
            raise InputError(f"the end node {network.end_node!r} has to be here: inputs arise there; give its runner")
        ahead_s = clocks_s or {}
        self.machines = {
            name: LiveMachine(
                Router(
                    network,
                    name,
                    objective=objective,
                    stale_s=stale_s,
                    by_pings=by_pings,
                    clock=_ahead(self._clock, ahead_s.get(name, 0.0)),
                ),
                runner,
                clock=self._clock,
                in_threads=in_threads,
            )
            for name, runner in runners.items()
        }
        self.machines[network.end_node].hops.update(apart)
        self.links = _links(network, links or {}, self._clock, apart)
        for (one, other), link in self.links.items():
            here, there = self.machines[one], self.machines[other]
            here.hops[other] = EmulatedHop(link, "uplink", there.receive, in_threads=in_threads)
            there.hops[one] = EmulatedHop(link, "downlink", here.receive, in_threads=in_threads)
        self.last: RoutedRun | None = None

    def __repr__(self) -> str:
        return f"<RoutedSession over {', '.join(self.machines)}; inputs arise on {self._network.end_node!r}>"

    def close(self) -> None:
        """Let go of models and connections; the session cannot run afterwards."""
        for machine in self.machines.values():
            for hop in machine.hops.values():
                hop.close()
        self.machines = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on one input, on the machine that the routers choose.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
            Every model input by its name.

        Returns
        -------
        dict of str to numpy.ndarray
            The model's outputs by name.

        Raises
        ------
        InputError
            A length of 0, inputs that disagree on it, inputs that the model does not take, or a closed session.

        Notes
        -----
        Where no answer comes in time the input is decided anew, and in the end it is run here: none is lost.
        """
        if not self.machines:
            raise InputError("this session is closed; open another one")
        length = length_of(inputs, self._axes, self._dim)
        home = self.machines[self._network.end_node]
        if self._check is not None:
            self._check(inputs)
        start_s = self._clock.now_s()
        done = home.work(Message(length, inputs, size_of(inputs), (), None))
        self.last = RoutedRun(
            length,
            done.route,
            done.decision.action,
            done.expected_s,
            self._clock.now_s() - start_s,
            done.pings,
            done.faults,
            done.decision.extrapolated,
        )
        return done.outputs


def open_routed(
    network: MachineNetwork,
    model: "ModelSource",
    dim: str = "seq",
    *,
    dims: Mapping[str, int] | None = None,
    links: Mapping[Pair, EmulatedLink] | None = None,
    servers: "Mapping[str, tuple[Plan, str]] | None" = None,
    threads: int | None = 1,
    objective: str | float = "time",
    stale_s: float = 60.0,
    by_pings: bool = False,
    token: str | None = None,
    ca_file: str | None = None,
) -> RoutedSession:
    """Open a model on every machine of a network, here.

    Parameters
    ----------
    network : MachineNetwork
        Measured on this machine: one with a `slowdown` above 1 is emulated, and waits after each run until it took so
        many times as long.
    model : path or onnx.ModelProto
        Each machine opens a copy.
    dim : str
        The open dimension that the length is of.
    dims : mapping of str to int, optional
        Values of the other open dimensions.
    links : mapping of (str, str) to EmulatedLink, optional
        As for `RoutedSession`; their clocks have to be the first one's.
    servers : mapping of str to (plan, url), optional
        Machines that are V2 servers, each with the plan that it serves, all of the model on the server. Inputs go to it
        over the real network, and only from the end node.
    threads : int, optional
        Of the runtime on each machine; the runtime's choice if None.
    objective, stale_s, by_pings
        As for `partition.routing.router.Router`.
    token, ca_file : str, optional
        For the servers.

    Returns
    -------
    RoutedSession

    Raises
    ------
    InputError
        A slowdown below 1, which cannot be emulated; a server that other machines than the end node reach, or whose
        plan leaves something to the device; as `RoutedSession`.
    graph_io.ModelError
        The model cannot be opened.
    """
    from graph_io import load_model
    from partition.routing.server_hop import ServerHop
    from partition.units import check_threads

    if threads is not None:
        check_threads(threads)
    loaded = load_model(model)
    axes = open_axes(loaded, dim, dims)
    clock = next((link.clock for link in (links or {}).values()), RealClock())
    apart = servers or {}
    for name in apart:
        if name == network.end_node:
            raise InputError(f"the end node {name!r} has to be here: inputs arise there; take it out of the servers")
    hops = {
        name: ServerHop(plan, url, network, name, network.end_node, token=token, ca_file=ca_file)
        for name, (plan, url) in apart.items()
    }
    runners: dict[str, Runner] = {}
    check = None
    for machine in network.machines:
        if machine.name in apart:
            continue
        run, checks = open_runner(loaded, threads=threads)
        runners[machine.name] = run if machine.slowdown == 1 else slowed(run, SlowDevice(machine.slowdown, clock=clock))
        if machine.name == network.end_node:
            check = checks
    return RoutedSession(
        network,
        runners,
        axes,
        dim=dim,
        hops=hops,
        links=links,
        clock=clock,
        objective=objective,
        stale_s=stale_s,
        by_pings=by_pings,
        check=check,
    )


def _ahead(clock: Clock, seconds: float) -> Callable[[], float]:
    return lambda: clock.now_s() + seconds


def _links(
    network: MachineNetwork, given: Mapping[Pair, EmulatedLink], clock: Clock, apart: Mapping[str, Hop]
) -> dict[Pair, EmulatedLink]:
    """Return one link for each pair of joined machines that are here: the given ones, constant ones for the rest."""
    directions = {(one.source, one.target): one for one in network.links}
    found = dict(given)
    for one, other in given:
        if (one, other) not in directions:
            raise InputError(f"the network has no link from {one!r} to {other!r}; it has {sorted(directions)!r}")
        if (other, one) in given:
            raise InputError(f"the link between {one!r} and {other!r} is given twice; it has both directions")
        if one in apart or other in apart:
            raise InputError(f"the link from {one!r} to {other!r} is real, as one of them is not here; emulate none")
        if given[one, other].clock is not clock:
            raise InputError(f"the link from {one!r} to {other!r} is on another clock than the session; give both one")
    for one, other in directions:
        if not {(one, other), (other, one)} & found.keys() and one not in apart and other not in apart:
            found[one, other] = constant_link(directions[one, other], directions[other, one], clock)
    return found


def constant_link(there: RoutedLink, back: RoutedLink, clock: Clock | None = None) -> EmulatedLink:
    """Return the emulation of both directions of a link as the network describes it.

    Each direction gets half of the round trip: routers see no more of the delays than their sum.
    """
    return EmulatedLink(
        RateProfile.constant(there.bits_per_s),
        RateProfile.constant(back.bits_per_s),
        delay_s=(there.delay_s + back.delay_s) / 2,
        clock=clock,
    )


def open_runner(model: "Model", *, threads: int | None = 1) -> tuple[Runner, Callable[[Mapping[str, Array]], None]]:
    """Open a model from `graph_io.load_model`; return what runs it, and what refuses inputs that it does not take."""
    from graph_io import runtime_reason
    from partition.plan_records import ModelInfo, TensorInfo
    from partition.runtime.parts import open_part, session_options
    from partition.runtime.session import InputTypes, open_step

    options = session_options(threads=threads, weights=model.weights)
    session = open_part(model.proto.SerializeToString(), f"model '{model.name}'", options)
    step = open_step(f"model '{model.name}'", session)
    taken = tuple(TensorInfo(name, "", (), 0) for name in step.inputs)
    types = InputTypes(ModelInfo(model.name, None, "", "layer", {}, 0, taken, ()), [session])

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        try:
            produced = step.run(inputs)
        except Exception as error:  # the runtime's exceptions share no public base class
            raise InputError(f"{step.name} failed in onnxruntime: {runtime_reason(error)}") from error
        return dict(zip(step.outputs, produced, strict=True))

    return run, types.check


def slowed(run: Runner, device: SlowDevice) -> Runner:
    """Return what runs the same on a slow device."""
    return lambda inputs: device.run(lambda: run(inputs))
