"""A hop to a V2 server that runs the whole model: `dnn-partition serve`, or any other server of the protocol.

Such a server has no router. So this end speaks for it: its run time is the network file's curve at first, refitted to
the compute time that each answer tells, and its expected wait is the queue time that the last answer told.
"""

import threading
import time
from collections.abc import Callable

from partition.errors import InputError
from partition.plan import Plan
from partition.remote.client import Exchange, V2Client
from partition.remote.errors import Refused, RemoteError
from partition.remote.wire import Endpoint
from partition.routing.hops import HopFailed, Message, Reply
from partition.routing.network import MachineNetwork
from partition.routing.router import Router
from partition.v2.names import stage_interface
from solvers.routing_rules import ADVERT_FIELDS, ADVERT_WAIT_S

_GREETING_LIMIT_S = 5.0


class ServerHop:
    """A way to a V2 server, which passes nothing on; several threads may use it at once.

    Parameters
    ----------
    plan : Plan
        Loaded from the folder that is served. All of the model is on the server.
    url : str
        Such as ``"http://server:8000"``.
    network : MachineNetwork
    machine, home : str
        The server's name in the network, and the one of the machine that this is a hop of: its only neighbour.
    token, ca_file : str, optional
        As for `Plan.session`.

    Raises
    ------
    InputError
        The plan leaves something to the device, the machine has other neighbours, or the URL is none.
    Refused
        The server is there, and serves something else. One that does not answer is asked again later.
    """

    def __init__(
        self,
        plan: Plan,
        url: str,
        network: MachineNetwork,
        machine: str,
        home: str,
        *,
        token: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        place = network.place(machine)
        near = {one.source for one in network.links if one.target == machine}
        if home not in near:
            raise InputError(f"the network has no link from {home!r} to the server {machine!r}; add both directions")
        others = sorted(near - {home})
        if others:
            raise InputError(
                f"machine {machine!r} is a V2 server, which passes nothing on, and the network joins it to "
                f"{', '.join(map(repr, others))}; leave all of its links out but the one to {home!r}"
            )
        stages = [stage for stage in plan.stages if stage.parts]
        if len(stages) != 1 or stages[0].machine != "server":
            raise InputError(
                f"the plan of '{plan.model.name}' for machine {machine!r} does not run all of the model on the server; "
                "cut at the model's inputs (cut=[...]), save and serve that plan"
            )
        self._stage = stage_interface(plan, stages[0].parts)
        self._client = V2Client(Endpoint.parse(url, token=token, ca_file=ca_file))
        self._machine, self._home = machine, home
        self._wait_at = place * ADVERT_FIELDS + ADVERT_WAIT_S
        self._router = Router(network, machine)
        self._queue_s = 0.0
        self._lock = threading.Lock()
        self._greeted = False
        try:
            self._greet(_GREETING_LIMIT_S)
        except Refused:
            self._client.close()
            raise
        except RemoteError:
            pass

    def exchange(self, message: Message, time_limit_s: float, late: Callable[[Reply], None]) -> Reply:
        """Ask the server and wait for its answer; see `Hop`. An answer that comes too late is never read."""
        begun_s = time.perf_counter()
        try:
            self._greet(time_limit_s)
            left_s = max(time_limit_s - (time.perf_counter() - begun_s), 1e-3)
            if message.inputs is None:
                self._client.ping(timeout_s=left_s)
                return Reply(None, message.size_bytes, (self._machine,), 0.0, self._offer())
            outputs, exchange = self._client.infer(self._stage, message.inputs, timeout_s=left_s)
        except RemoteError as error:
            raise HopFailed(str(error)) from error
        spent_s = self._learn(message.length, exchange)
        return Reply(outputs, exchange.received_bytes, (self._machine,), spent_s, self._offer())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _greet(self, time_limit_s: float) -> None:
        if not self._greeted:
            self._client.check_stage(self._stage, timeout_s=time_limit_s)
            self._greeted = True

    def _learn(self, length: int, exchange: Exchange) -> float:
        """Take in what the server tells of one run; return what passed there."""
        with self._lock:
            if exchange.queue_s is not None:
                self._queue_s = exchange.queue_s
            expected_s = self._router.run_queued(length)
            self._router.run_ended(length, expected_s, exchange.compute_s)
        # A server that does not tell is thought to have taken what was expected: the rest is the network's.
        compute_s = expected_s if exchange.compute_s is None else exchange.compute_s
        return min(compute_s + (exchange.queue_s or 0.0), exchange.total_s)

    def _offer(self) -> tuple[float, ...]:
        with self._lock:
            offer = list(self._router.offer_to(self._home))
            offer[self._wait_at] = self._queue_s
        return tuple(offer)
