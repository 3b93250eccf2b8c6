"""A plan that runs here and on a server, follows the network, and finishes here what the server does not answer."""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from partition.adaptation.conditions import Conditions
from partition.adaptation.estimators import ConditionEstimator, Observation
from partition.adaptation.planner import MESSAGE_BYTES, Planner, choices_of
from partition.errors import InputError
from partition.plan import Plan
from partition.remote.breaker import Breaker
from partition.remote.client import Array, Exchange, V2Client
from partition.remote.errors import Busy, Refused, RemoteError, TimedOut, Unreachable
from partition.remote.local_parts import LocalParts, Runner, at_once
from partition.remote.options import RemoteOptions
from partition.remote.records import RunRecord, StageRecord, VisitRecord
from partition.remote.request import Request
from partition.remote.routes import Route, RouteStage, routes_of
from partition.remote.wire import Endpoint
from partition.runtime.session import check_not_encoded

_LOG = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 1.0
_RTT_STALE_S = 10.0
_KEPT_RECORDS = 10_000


class RemoteSession:
    """The parts of a saved plan, some here and some on a server; use it as a context manager.

    `run` computes the same as in process, whatever becomes of the server: with ``hold="all"`` the device finishes what
    the server does not answer in time, and finds out in the background when it is back.

    Parameters
    ----------
    plan : Plan
        As loaded from its folder.
    endpoint : Endpoint
    options : RemoteOptions
    threads : int, optional
        Of each part's session here.
    on_device : callable
        Runs what the device computes; an emulated device waits here.
    told : callable, optional
        Tells the conditions, from a modem or an emulated link, instead of the estimates.

    Raises
    ------
    InputError
        A plan that was not saved, or not with hashes of weights that lie in other files.
    RemoteError
        The server has other parts; or it does not answer, and the device does not hold all of them.

    Examples
    --------
    >>> with plan.session(server="http://server:8000") as session:       # doctest: +SKIP
    ...     outputs = session.run({"data": image})
    ...     print(session.last)
    """

    def __init__(
        self,
        plan: Plan,
        endpoint: Endpoint,
        *,
        options: RemoteOptions | None = None,
        threads: int | None = None,
        on_device: Runner = at_once,
        told: Callable[[], Conditions] | None = None,
    ) -> None:
        self.options = options or RemoteOptions()
        self._told = told
        self._plan = plan
        planned = choices_of(plan)
        own = [[stage.parts for stage in one.stages] for one in planned].index([stage.parts for stage in plan.stages])
        self._routes = routes_of(plan, planned)
        if not self.options.adapt:
            self._routes = (self._routes[own],)
            own = 0
        elif self.options.hold == "own":
            self._routes, own = _without_all_local(self._routes, own)
        self._planner = Planner([route.choice for route in self._routes], hysteresis=self.options.hysteresis)
        self._planner.current = own
        self._estimator = ConditionEstimator(Conditions.of_link(plan.link), time.perf_counter)
        held = range(len(plan.parts)) if self.options.hold == "all" else self._own_parts()
        self._parts = LocalParts(plan, held, threads=threads, on_device=on_device)
        self._client = V2Client(endpoint)
        self._stages = {one.served.name: one.served for route in self._routes for one in route.stages if one.served}
        self._breaker = Breaker(self._probe, (RemoteError,))
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._pool: ThreadPoolExecutor | None = None
        self._asking = threading.Lock()
        self._closed = False
        self._under_way = 0
        self._greeted = False
        self._pinged_s = float("-inf")
        self._records: deque[RunRecord] = deque(maxlen=_KEPT_RECORDS)
        try:
            self._shake_hands()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        name, where = self._plan.model.name, self._client.endpoint
        return f"<RemoteSession of {name!r} with {where}, {len(self._routes)} placements>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the runtime's sessions and the connections; the session cannot run afterwards."""
        with self._lock:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._breaker.close()
        self._client.close()
        self._parts.close()

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The last 10,000 requests, oldest first."""
        with self._lock:
            return tuple(self._records)

    @property
    def last(self) -> RunRecord | None:
        """The record of the last request; None before the first."""
        with self._lock:
            return self._records[-1] if self._records else None

    @property
    def conditions(self) -> Conditions:
        """Link and machines as estimated now."""
        with self._lock:
            return self._estimator.conditions()

    @property
    def is_remote(self) -> bool:
        """Whether requests go to the server now, where their placement wants it; if not, it is being waited for."""
        return self._breaker.passes

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one inference.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
            Every model input by its name, of the model's own type; nothing is cast.

        Returns
        -------
        dict of str to numpy.ndarray
            The model's outputs by name, in the model's order.

        Raises
        ------
        InputError
            A missing or unknown input, another type or shape than the model's, or a closed session.
        RemoteError
            The server failed, and the device does not hold its parts.
        """
        request = self._begin(inputs)
        for stage in request.route.stages:
            self._advance(request, stage)
        return self._finish(request)

    def run_async(self, inputs: Mapping[str, Array]) -> "Future[dict[str, Array]]":
        """Run one inference in the background; parameters and errors as `run`, whose result the future holds."""
        return self._threads().submit(self.run, dict(inputs))

    def stream(
        self, inputs: Iterable[Mapping[str, Array]], *, rate_per_s: float | None = None
    ) -> Iterator[dict[str, Array]]:
        """Run many inferences so that device, link and server work at the same time.

        Parameters
        ----------
        inputs : iterable of mappings
            Taken as fast as they can be worked on, `in_flight` ahead at the most.
        rate_per_s : float, optional
            How many inputs come in a second. With it, the placement of least latency among those that keep up is
            taken; without, or where none keeps up, the one with most throughput.

        Yields
        ------
        dict of str to numpy.ndarray
            The outputs of each, in the order of the inputs.

        Raises
        ------
        InputError, RemoteError
            As `run`, when the turn of that input comes.
        """
        if rate_per_s is not None and not 0 < rate_per_s < 1e9:
            raise InputError(f"rate_per_s is {rate_per_s!r}; give how many inputs come in a second, above 0")
        under_way: deque[Future[dict[str, Array]]] = deque()
        with ThreadPoolExecutor(1, "device") as device:
            try:
                for one in inputs:
                    under_way.append(self._threads().submit(self._pipelined, device, dict(one), rate_per_s))
                    if len(under_way) >= self.options.in_flight:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                for left in under_way:
                    left.cancel()

    def _pipelined(
        self, device: ThreadPoolExecutor, inputs: dict[str, Array], rate_per_s: float | None
    ) -> dict[str, Array]:
        # The device computes one stage at a time, in the order of asking; meanwhile others are on their way.
        request = self._begin(inputs, rate_per_s=float("inf") if rate_per_s is None else rate_per_s)
        for stage in request.route.stages:
            if stage.served is None and stage.parts:
                device.submit(self._advance, request, stage).result()
            else:
                self._advance(request, stage)
        return self._finish(request)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise InputError("this session is closed; open another with plan.session()")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.options.in_flight, "request")
            return self._pool

    def _begin(self, inputs: Mapping[str, Array], *, rate_per_s: float | None = None) -> Request:
        self._parts.check(inputs)
        started_s, begun_s = time.time(), time.perf_counter()
        with self._lock:
            now = self._estimator.conditions() if self._told is None else self._told()
            number = self._choose(now, rate_per_s)
            predicted_s = self._planner.terms[number].latency_s(now)
            asked = self._stage_to_ask(number, now)
        return Request(self._routes[number], number, now, predicted_s, started_s, begun_s, dict(inputs), asked)

    def _advance(self, request: Request, stage: RouteStage) -> None:
        """Run one stage, on the server or here."""
        now, values = request.now, request.values
        taken_s: float | None = None
        answered = False
        if stage.served is not None and not request.failed and self._may_ask():
            visit, taken_s = self._visit(stage, values, now)
            request.visits.append(visit)
            answered = visit.fault is None
        if not answered:
            taken_s = self._parts.run(stage.parts, values)
            if stage.served is None and stage.parts:
                self._saw_device(stage.compute_s, taken_s)
        slowdown = now.server_slowdown if stage.machine == "server" else now.device_slowdown
        ran_on: Literal["device", "server"] = "server" if answered else "device"
        request.stages.append(StageRecord(stage.machine, ran_on, stage.parts, stage.compute_s * slowdown, taken_s))
        kept = stage.needed_after | request.asked_inputs
        for name in [name for name in values if name not in kept]:
            del values[name]

    def _finish(self, request: Request) -> dict[str, Array]:
        values = request.values
        with self._lock:
            self._records.append(request.record(next(self._numbers)))
        if self._wants_ping():
            self._in_background(self._probe)
        elif request.asked is not None:
            inputs = {name: values[name] for name in request.asked_inputs}
            self._in_background(partial(self._visit, request.asked, inputs, request.now))
        return {name: values[name] for name in self._plan.model.output_names}

    def _stage_to_ask(self, number: int, now: Conditions) -> RouteStage | None:
        """Return a stage to try in the background, where nothing was heard of the link for a while.

        What runs here alone tells nothing of the link. The stage of the placement that would come next is asked for
        with the real tensors, which shows at once whether it would be better now.
        """
        if not self._routes[number].is_local or not self._breaker.passes or not self.options.adapt:
            return None
        if self._estimator.silence_s() < self.options.stale_s:
            return None
        remote = [other for other, route in enumerate(self._routes) if len(_served(route)) == 1]
        if not remote:
            return None
        best = min(remote, key=lambda other: self._planner.terms[other].latency_s(now))
        return _served(self._routes[best])[0]

    def _wants_ping(self) -> bool:
        """Whether the round trip was not seen for a while: only a short message tells it."""
        link = self._estimator.link
        silent = time.perf_counter() - max(link.newest_rtt_s, self._pinged_s) > _RTT_STALE_S
        return silent and self._breaker.passes and self.options.adapt and bool(self._stages)

    def _in_background(self, work: Callable[[], object]) -> None:
        if not self._asking.acquire(blocking=False):
            return

        def ask() -> None:
            try:
                work()
            except RemoteError:
                _LOG.debug("asking in the background failed", exc_info=True)
            finally:
                self._asking.release()

        threading.Thread(target=ask, name="asking", daemon=True).start()

    def _may_ask(self) -> bool:
        # Without the server's parts there is no other way than to ask.
        return self._breaker.passes or self.options.hold == "own"

    def _choose(self, now: Conditions, rate_per_s: float | None) -> int:
        if self._breaker.passes or len(self._routes) == 1:
            if rate_per_s is not None:
                return self._planner.choose_for_rate(now, rate_per_s)
            return self._planner.choose(now)
        local = [number for number, route in enumerate(self._routes) if route.is_local]
        # What the device is to finish anyway is run as planned for it; the placement in use is taken up again later.
        current = self._planner.current
        number = self._planner.choose(now, allowed=local) if local else self._planner.choose(now)
        self._planner.current = current
        return number

    def _visit(self, stage: RouteStage, values: dict[str, Any], now: Conditions) -> tuple[VisitRecord, float | None]:
        """Ask the server for a stage; on success its outputs are in `values`, else the record tells the fault."""
        assert stage.served is not None
        inputs = {one.name: values[one.name] for one in stage.served.inputs}
        up = sum(one.nbytes for one in inputs.values()) + MESSAGE_BYTES
        down = sum(one.size_bytes for one in stage.served.outputs) + MESSAGE_BYTES
        link_s = 8.0 * (up / now.uplink_bits_per_s + down / now.downlink_bits_per_s) + now.rtt_s
        predicted_s = link_s + stage.compute_s * now.server_slowdown
        options = self.options
        with self._lock:
            self._under_way += 1
            # They share the link and the server's processors.
            wanted_s = options.timeout_factor * predicted_s * self._under_way
            alone = self._under_way == 1
        timeout_s = min(options.longest_timeout_s, max(options.shortest_timeout_s, wanted_s))
        begun_s = time.perf_counter()
        try:
            outputs, exchange = self._client.infer(stage.served, inputs, timeout_s=timeout_s)
        except RemoteError as error:
            taken_s = time.perf_counter() - begun_s
            self._saw_fault(error, up, taken_s)
            if options.hold == "own":
                raise
            return VisitRecord(link_s, taken_s, None, up, 0, str(error)), None
        finally:
            with self._lock:
                self._under_way -= 1
                alone = alone and self._under_way == 0
        self._breaker.answered()
        self._saw_exchange(stage, exchange, alone=alone)
        values.update(outputs)
        server_s = (exchange.compute_s or 0.0) + (exchange.queue_s or 0.0)
        record = VisitRecord(
            link_s,
            max(0.0, exchange.total_s - server_s),
            exchange.queue_s,
            exchange.sent_bytes,
            exchange.received_bytes,
            None,
        )
        return record, exchange.compute_s

    def _saw_device(self, planned_s: float, taken_s: float) -> None:
        with self._lock:
            self._estimator.device.observe(planned_s, taken_s, time.perf_counter())

    def _saw_exchange(self, stage: RouteStage, exchange: Exchange, *, alone: bool) -> None:
        with self._lock:
            told = exchange.compute_s is not None
            planned_s = stage.compute_s * self._estimator.server.value
            server_s = (exchange.compute_s if told else planned_s) + (exchange.queue_s or 0.0)  # type: ignore[operator]
            if told:
                # Waiting counts as slowness: both grow with the server's load.
                self._estimator.server.observe(stage.compute_s, server_s, time.perf_counter())
            self._estimator.link.observe(_observation(exchange, server_s, alone=alone))

    def _saw_fault(self, error: RemoteError, sent_bytes: int, taken_s: float) -> None:
        if self._closed:
            return  # that is no news of the server
        if isinstance(error, TimedOut):
            with self._lock:
                self._estimator.link.gave_up(sent_bytes, taken_s)
        self._client.drop_connections()
        if self._breaker.passes:
            _LOG.warning("the device goes on alone until the server is back: %s", error)
        self._breaker.failed(wait_s=error.retry_after_s if isinstance(error, Busy) else None)

    def _probe(self) -> None:
        """Make sure that the server is there and serves these parts; on a connection that is warm, time a ping."""
        self._pinged_s = time.perf_counter()
        for stage in self._stages.values():
            if not self._greeted:
                self._client.check_stage(stage, timeout_s=_PROBE_TIMEOUT_S)
            elif not self._client.ready(stage, timeout_s=_PROBE_TIMEOUT_S):
                raise Unreachable(f"server {self._client.endpoint} is not ready for '{stage.name}'")
        self._greeted = True
        exchange = self._client.ping(timeout_s=_PROBE_TIMEOUT_S)
        with self._lock:
            self._estimator.link.observe(_observation(exchange))

    def _shake_hands(self) -> None:
        if not self._stages:
            return
        try:
            for stage in self._stages.values():
                self._client.check_stage(stage, timeout_s=_CONNECT_TIMEOUT_S)
            self._greeted = True
            with self._lock:
                # The connection is warm now.
                self._estimator.link.observe(_observation(self._client.ping(timeout_s=_CONNECT_TIMEOUT_S)))
        except Refused:
            raise
        except RemoteError:
            if self.options.hold == "own":
                raise
            self._breaker.failed()

    def _own_parts(self) -> Sequence[int]:
        return sorted(frozenset[int]().union(*(route.device_parts for route in self._routes)))


def open_remote_session(
    plan: Plan,
    server: str,
    *,
    token: str | None,
    ca_file: str | None,
    options: RemoteOptions | None,
    threads: int | None,
) -> RemoteSession:
    """Open a plan on a server; see `Plan.session`."""
    check_not_encoded(plan)
    if plan.output_on != "device":
        raise InputError(
            f"the plan wants its outputs on '{plan.output_on}', and a session hands them out on the device, for which "
            "it is not priced; plan with output_on='device'"
        )
    endpoint = Endpoint.parse(server, token=token, ca_file=ca_file)
    return RemoteSession(plan, endpoint, options=options, threads=threads)


def _served(route: Route) -> list[RouteStage]:
    return [stage for stage in route.stages if stage.served is not None]


def _without_all_local(routes: tuple[Route, ...], own: int) -> tuple[tuple[Route, ...], int]:
    """Leave out what needs all parts here, unless it is what was planned."""
    kept = [number for number, route in enumerate(routes) if not route.is_local or number == own]
    return tuple(routes[number] for number in kept), kept.index(own)


def _observation(exchange: Exchange, server_s: float = 0.0, *, alone: bool = True) -> Observation:
    return Observation(
        exchange.begun_s + exchange.total_s,
        exchange.until_first_byte_s,
        exchange.receive_s,
        exchange.sent_bytes,
        exchange.received_bytes,
        server_s,
        # Beside others it waited for them, and tells no more than on a cold connection.
        exchange.cold or not alone,
    )
