"""A plan that runs here and on a server, follows the network, and finishes here what the server does not answer."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal

from partition.adaptation.conditions import Conditions
from partition.adaptation.planner import Planner, choices_of
from partition.closing import Closing
from partition.errors import InputError
from partition.plan import Plan
from partition.remote.compression import Compression
from partition.remote.local_parts import LocalParts, Runner, at_once
from partition.remote.options import RemoteOptions
from partition.remote.records import RunRecord, StageRecord, parts_sha256
from partition.remote.remote_server import RemoteServer
from partition.remote.request import Request
from partition.remote.routes import Route, RouteStage, routes_of
from partition.remote.wire import Endpoint
from partition.runtime.session import Array
from partition.v2.input_codec import InputCodec, InputCodecs

_KEPT_RECORDS = 10_000


class RemoteSession(Closing):
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
    codecs : mapping of str to InputCodec, optional
        Of each input that was priced as encoded.

    Raises
    ------
    InputError
        A plan that was not saved, or not with hashes of weights that lie in other files; compression is asked for, and
        not installed.
    RemoteError
        The server refuses: it has other parts, wants another token, is not trusted, or only one side speaks TLS. Or it
        does not answer, and the device does not hold all parts.

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
        codecs: Mapping[str, InputCodec] | None = None,
    ) -> None:
        self._codecs = InputCodecs(plan, codecs)
        self.options = options or RemoteOptions()
        compression = None if self.options.compression is None else Compression(on_device)
        self._told = told
        self._plan = plan
        self._parts_sha256 = parts_sha256(plan)
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
        held = range(len(plan.parts)) if self.options.hold == "all" else self._own_parts()
        self._parts = LocalParts(plan, held, threads=threads, on_device=on_device, codecs=self._codecs)
        stages = [one.served for route in self._routes for one in route.stages if one.served is not None]
        conditions = Conditions.of_link(plan.link)
        self._server = RemoteServer(endpoint, stages, conditions, self.options, self._codecs.names, compression)
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._records: deque[RunRecord] = deque(maxlen=_KEPT_RECORDS)
        try:
            self._server.shake_hands()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        name, where = self._plan.model.name, self._server.endpoint
        return f"<RemoteSession of {name!r} with {where}, {len(self._routes)} placements>"

    def close(self) -> None:
        """Release the runtime's sessions and the connections; the session cannot run afterwards."""
        with self._lock:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._server.close()
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
        return self._server.conditions

    @property
    def is_remote(self) -> bool:
        """Whether requests go to the server now, where their placement wants it; if not, it is being waited for."""
        return self._server.breaker.passes

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
            self._encode(request, stage)
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
            if self._to_encode(request, stage):
                device.submit(self._encode, request, stage).result()
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
        now = self._server.conditions if self._told is None else self._told()
        with self._lock:
            number = self._choose(now, rate_per_s)
            predicted_s = self._planner.terms[number].latency_s(now)
            asked = self._stage_to_ask(number, now)
        route = self._routes[number]
        predicted_s -= sum(self._server.saved_s(stage, now) for stage in route.stages)
        request = Request(
            route,
            number,
            now,
            predicted_s,
            started_s,
            begun_s,
            dict(inputs),
            asked,
            self._parts_sha256,
        )
        # What would have been chosen otherwise is not known: the server's absence may be the reason.
        if route.is_local:
            request.not_asked = self._server.absence
        return request

    def _advance(self, request: Request, stage: RouteStage) -> None:
        """Run one stage, on the server or here."""
        now, values = request.now, request.values
        taken_s: float | None = None
        answered = asked = False
        encode_s, request.encode_s = request.encode_s, 0.0
        encoded = request.encoded_for(stage)
        wanted = stage.served is not None and not request.failed
        absence = self._server.absence if wanted else None
        if wanted and absence is None:
            visit, taken_s = self._server.visit(stage, values, now, encoded=encoded, encode_s=encode_s)
            request.visits.append(visit)
            asked = True
            answered = visit.fault is None
        elif wanted:
            request.not_asked = absence
        if not answered:
            taken_s = self._parts.run(stage.parts, values, encoded=encoded)
            if stage.served is None and stage.parts:
                self._server.saw_device(stage.compute_s, taken_s)
        slowdown = now.server_slowdown if stage.machine == "server" else now.device_slowdown
        ran_on: Literal["device", "server"] = "server" if answered else "device"
        request.stages.append(
            StageRecord(stage.machine, ran_on, stage.parts, stage.compute_s * slowdown, taken_s, asked, encode_s)
        )
        kept = stage.needed_after | request.asked_inputs
        for name in [name for name in values if name not in kept]:
            del values[name]

    def _to_encode(self, request: Request, stage: RouteStage) -> list[str]:
        return [name for name in stage.sent if name in self._codecs.names and name not in request.encoded]

    def _encode(self, request: Request, stage: RouteStage) -> None:
        """Encode what a server's stage reads in that way."""
        wanted = self._to_encode(request, stage)
        if wanted:
            encoded, request.encode_s = self._parts.encode({name: request.values[name] for name in wanted})
            request.encoded.update(encoded)

    def _finish(self, request: Request) -> dict[str, Array]:
        values = request.values
        with self._lock:
            self._records.append(request.record(next(self._numbers)))
        if self._server.wants_ping():
            self._server.in_background(self._server.probe)
        elif request.asked is not None:
            inputs = {name: values[name] for name in request.asked_inputs}
            self._server.in_background(partial(self._server.visit, request.asked, inputs, request.now))
        return {name: values[name] for name in self._plan.model.output_names}

    def _stage_to_ask(self, number: int, now: Conditions) -> RouteStage | None:
        """Return a stage to try in the background, where nothing was heard of the link for a while.

        What runs here alone tells nothing of the link. The stage of the placement that would come next is asked for
        with the real tensors, which shows at once whether it would be better now.
        """
        if not self._routes[number].is_local or not self.is_remote or not self.options.adapt:
            return None
        if self._server.silence_s() < self.options.stale_s:
            return None
        remote = [other for other, route in enumerate(self._routes) if len(_served(route)) == 1]
        if not remote:
            return None
        best = min(remote, key=lambda other: self._planner.terms[other].latency_s(now))
        return _served(self._routes[best])[0]

    def _choose(self, now: Conditions, rate_per_s: float | None) -> int:
        if self.is_remote or len(self._routes) == 1:
            if rate_per_s is not None:
                return self._planner.choose_for_rate(now, rate_per_s)
            return self._planner.choose(now)
        local = [number for number, route in enumerate(self._routes) if route.is_local]
        # What the device is to finish anyway is run as planned for it; the placement in use is taken up again later.
        current = self._planner.current
        number = self._planner.choose(now, allowed=local) if local else self._planner.choose(now)
        self._planner.current = current
        return number

    def _own_parts(self) -> Sequence[int]:
        return sorted(frozenset[int]().union(*(route.device_parts for route in self._routes)))


def open_remote_session(
    plan: Plan,
    server: str,
    *,
    token: str | None,
    ca_file: str | None,
    options: RemoteOptions | None,
    codecs: Mapping[str, InputCodec] | None,
    threads: int | None,
) -> RemoteSession:
    """Open a plan on a server; see `Plan.session`."""
    if plan.output_on != "device":
        raise InputError(
            f"the plan wants its outputs on '{plan.output_on}', and a session hands them out on the device, for which "
            "it is not priced; plan with output_on='device'"
        )
    endpoint = Endpoint.parse(server, token=token, ca_file=ca_file)
    return RemoteSession(plan, endpoint, options=options, threads=threads, codecs=codecs)


def _served(route: Route) -> list[RouteStage]:
    return [stage for stage in route.stages if stage.served is not None]


def _without_all_local(routes: tuple[Route, ...], own: int) -> tuple[tuple[Route, ...], int]:
    """Leave out what needs all parts here, unless it is what was planned."""
    kept = [number for number, route in enumerate(routes) if not route.is_local or number == own]
    return tuple(routes[number] for number in kept), kept.index(own)
