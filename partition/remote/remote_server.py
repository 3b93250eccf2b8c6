"""One server as a session sees it: the connections to it, whether it may be asked, and what is known of the way."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from partition.adaptation.conditions import Conditions
from partition.adaptation.estimators import ConditionEstimator, Observation
from partition.adaptation.planner import MESSAGE_BYTES
from partition.remote.breaker import Breaker
from partition.remote.client import Exchange, V2Client
from partition.remote.compression import Compression
from partition.remote.errors import Busy, Refused, RemoteError, TimedOut, Unreachable
from partition.remote.options import RemoteOptions
from partition.remote.records import VisitRecord
from partition.remote.routes import RouteStage
from partition.remote.scheme import check_scheme
from partition.remote.wire import Endpoint
from partition.v2.names import StageInterface

_LOG = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 1.0
_RTT_STALE_S = 10.0


class RemoteServer:
    """Asks a server for stages, in time or not at all, and learns from every answer; for several threads at once.

    Parameters
    ----------
    endpoint : Endpoint
    stages : iterable of StageInterface
        What it is to be asked for.
    planned : Conditions
        What holds of link and machines until something else was seen.
    options : RemoteOptions
    codecs : mapping of str to str
        Names of the codecs by which inputs travel.
    compression : Compression, optional
        By which messages are compressed where it pays; they go as they are if not given.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        stages: Iterable[StageInterface],
        planned: Conditions,
        options: RemoteOptions,
        codecs: Mapping[str, str],
        compression: Compression | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._options = options
        self._codecs = codecs
        self._compression = compression
        self._stages = {stage.name: stage for stage in stages}
        self._client = V2Client(endpoint)
        self._estimator = ConditionEstimator(planned, time.perf_counter)
        self.breaker = Breaker(self.probe, (RemoteError,))
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._under_way = 0
        # By stage: what it computes beyond the plan, as decoding has no price there.
        self._decode_s: dict[str, float] = {}
        self._greeted = False
        self._refused = False
        self._pinged_s = float("-inf")
        self._closed = False

    def close(self) -> None:
        """Close the connections and stop probing."""
        self._closed = True
        self.breaker.close()
        self._client.close()

    @property
    def may_ask(self) -> bool:
        """Whether requests go to it. Without its parts here there is no other way than to ask."""
        return self.breaker.passes or self._options.hold == "own"

    @property
    def absence(self) -> str | None:
        """Why requests do not go to it; None if they do."""
        return None if self.may_ask else self.breaker.reason or "it was away a moment ago"

    @property
    def conditions(self) -> Conditions:
        """Link and machines as estimated now."""
        with self._lock:
            return self._estimator.conditions()

    def silence_s(self) -> float:
        """Return for how long nothing was heard of the link."""
        with self._lock:
            return self._estimator.silence_s()

    def shake_hands(self) -> None:
        """Make sure that it serves the stages; wait for one that does not answer, where the session can go on alone.

        Raises
        ------
        Refused
            It serves something else, takes another token, is not trusted, or is spoken to with TLS and has none, or the
            other way round.
        RemoteError
            It does not answer, and the device holds its own parts alone.
        """
        if not self._stages:
            return
        try:
            self._greet(_CONNECT_TIMEOUT_S)
            # The connection is warm now.
            self._time_ping(_CONNECT_TIMEOUT_S)
        except Refused:
            raise
        except RemoteError as error:
            if not isinstance(error, Busy):
                check_scheme(self.endpoint, timeout_s=_PROBE_TIMEOUT_S)
            if self._options.hold == "own":
                raise
            self._go_on_alone(error)

    def probe(self) -> None:
        """Make sure that it is there and serves the stages; on a connection that is warm, time a ping.

        Raises
        ------
        RemoteError
            It is not there, or not ready.
        """
        self._pinged_s = time.perf_counter()
        try:
            if self._greeted:
                for stage in self._stages.values():
                    if not self._client.ready(stage, timeout_s=_PROBE_TIMEOUT_S):
                        raise Unreachable(f"server {self.endpoint} is not ready for '{stage.name}'")
            else:
                self._greet(_PROBE_TIMEOUT_S)
            self._time_ping(_PROBE_TIMEOUT_S)
        except Refused as error:
            # Asking again will hardly help, so it is told; once, as it is asked again all the same.
            if not self._refused:
                self._refused = True
                _LOG.warning("the server is there, and the device goes on alone: %s", error)
            raise
        self._refused = False

    def visit(
        self,
        stage: RouteStage,
        values: dict[str, Any],
        now: Conditions,
        *,
        encoded: Mapping[str, bytes] | None = None,
        encode_s: float = 0.0,
    ) -> tuple[VisitRecord, float | None]:
        """Ask for a stage; on success its outputs are in `values`, else the record tells the fault.

        Parameters
        ----------
        stage : RouteStage
            One that is served.
        values : dict of str to numpy.ndarray
            What it reads, and more.
        now : Conditions
            What the prediction and the time-out rest on.
        encoded : mapping of str to bytes, optional
            Inputs that travel encoded.
        encode_s : float
            What encoding them took: decoding counts as much in the time-out until an answer tells what it takes.

        Returns
        -------
        record : VisitRecord
        compute_s : float or None
            As the server tells.

        Raises
        ------
        RemoteError
            A fault, where the device holds its own parts alone.
        """
        assert stage.served is not None
        codings = {name: (self._codecs[name], content) for name, content in (encoded or {}).items()}
        inputs = {one.name: values[one.name] for one in stage.served.inputs if one.name not in codings}
        up = sum(one.nbytes for one in inputs.values()) + MESSAGE_BYTES
        up += sum(len(content) for _, content in codings.values())
        down = sum(one.size_bytes for one in stage.served.outputs) + MESSAGE_BYTES
        coding = None if self._compression is None else self._compression.begin(stage.served.name, up, down, now)
        uplink_s, downlink_s = _link_s(up, down, now)
        # Compressed messages are faster than this, but not much slower: a time-out may rest on it.
        plain_s = uplink_s + downlink_s
        if coding is not None:
            uplink_s, downlink_s = _link_s(coding.expected.up_bytes, coding.expected.down_bytes, now)
        link_s = uplink_s + downlink_s
        options = self._options
        with self._lock:
            self._under_way += 1
            decode_s = self._decode_s.get(stage.served.name, encode_s) if codings else 0.0
            # The slow-down rests on answers with decoding in them, so it is not added to that.
            predicted_s = plain_s + max(stage.compute_s * now.server_slowdown, stage.compute_s + decode_s)
            # They share the link and the server's processors.
            wanted_s = options.timeout_factor * predicted_s * self._under_way
            alone = self._under_way == 1
        timeout_s = min(options.longest_timeout_s, max(options.shortest_timeout_s, wanted_s))
        begun_s = time.perf_counter()
        try:
            outputs, exchange = self._client.infer(
                stage.served, inputs, timeout_s=timeout_s, encoded=codings, coding=coding
            )
        except RemoteError as error:
            taken_s = time.perf_counter() - begun_s
            if coding is not None:
                up, taken_s = up - coding.saved_bytes, max(0.0, taken_s - coding.device_s)
                # The server may be another one by now: it is asked again whether it takes compressed bodies.
                self._greeted = self._greeted and not coding.packs
            if codings and isinstance(error, TimedOut):
                # Decoding may be what takes so long: twice the time next, until an answer tells.
                with self._lock:
                    self._decode_s[stage.served.name] = max(decode_s, 2.0 * taken_s / options.timeout_factor)
            self._saw_fault(error, up, taken_s, decodes=bool(codings))
            if options.hold == "own":
                raise
            compressed = None if coding is None else coding.record(up, 0)
            fault = VisitRecord(link_s, taken_s, None, up, 0, str(error), uplink_s, downlink_s, compression=compressed)
            return fault, None
        finally:
            with self._lock:
                self._under_way -= 1
                alone = alone and self._under_way == 0
        self.breaker.answered()
        self._saw_exchange(stage, exchange, alone=alone)
        if codings and exchange.compute_s is not None:
            with self._lock:
                self._decode_s[stage.served.name] = max(0.0, exchange.compute_s - stage.compute_s)
        values.update(outputs)
        server_s = (exchange.compute_s or 0.0) + (exchange.queue_s or 0.0) + exchange.coding_s
        record = VisitRecord(
            link_s,
            max(0.0, exchange.total_s - server_s),
            exchange.queue_s,
            exchange.sent_bytes,
            exchange.received_bytes,
            None,
            uplink_s,
            downlink_s,
            max(0.0, exchange.until_first_byte_s - server_s),
            exchange.receive_s,
            None if coding is None else coding.record(exchange.sent_bytes, exchange.received_bytes),
        )
        return record, exchange.compute_s

    def saved_s(self, stage: RouteStage, now: Conditions) -> float:
        """Return by how much compressing is expected to make a visit shorter than the plan knows."""
        if self._compression is None or stage.served is None:
            return 0.0
        up = sum(one.size_bytes for one in stage.served.inputs) + MESSAGE_BYTES
        down = sum(one.size_bytes for one in stage.served.outputs) + MESSAGE_BYTES
        found = self._compression.expected(stage.served.name, up, down, now)
        return sum(_link_s(up, down, now)) - sum(_link_s(found.up_bytes, found.down_bytes, now)) - found.coding_s

    def saw_device(self, planned_s: float, taken_s: float) -> None:
        """Take in what the device took for a stage of its own."""
        with self._lock:
            self._estimator.device.observe(planned_s, taken_s, time.perf_counter())

    def wants_ping(self) -> bool:
        """Say whether the round trip was not seen for a while: only a short message tells it."""
        silent = time.perf_counter() - max(self._estimator.link.newest_rtt_s, self._pinged_s) > _RTT_STALE_S
        return silent and self.breaker.passes and self._options.adapt and bool(self._stages)

    def in_background(self, work: Callable[[], object]) -> None:
        """Do something in a thread, unless something is done there already; that the server fails is no matter."""
        if not self._asking.acquire(blocking=False):
            return

        def ask() -> None:
            try:
                work()
            except RemoteError:
                _LOG.debug("asking in the background failed", exc_info=True)
            finally:
                self._asking.release()

        try:
            threading.Thread(target=ask, name="asking", daemon=True).start()
        except RuntimeError:
            self._asking.release()
            _LOG.exception("no thread to ask the server in the background")

    def _greet(self, timeout_s: float) -> None:
        for stage in self._stages.values():
            self._client.check_stage(stage, timeout_s=timeout_s, codecs=self._codecs)
        if self._compression is not None:
            self._compression.is_taken = self._client.takes_zstd
        self._greeted = True

    def _time_ping(self, timeout_s: float) -> None:
        exchange = self._client.ping(timeout_s=timeout_s)
        with self._lock:
            self._estimator.link.observe(_observation(exchange))

    def _saw_exchange(self, stage: RouteStage, exchange: Exchange, *, alone: bool) -> None:
        with self._lock:
            told = exchange.compute_s is not None
            planned_s = stage.compute_s * self._estimator.server.value
            server_s = (exchange.compute_s if told else planned_s) + (exchange.queue_s or 0.0)  # type: ignore[operator]
            if told:
                # Waiting counts as slowness: both grow with the server's load.
                self._estimator.server.observe(stage.compute_s, server_s, time.perf_counter())
            # What is on the link are the bytes as they were sent, and the time without packing and unpacking.
            self._estimator.link.observe(_observation(exchange, server_s + exchange.coding_s, alone=alone))

    def _saw_fault(self, error: RemoteError, sent_bytes: int, taken_s: float, *, decodes: bool) -> None:
        if self._closed:
            return  # that is no news of the server
        if isinstance(error, TimedOut) and not decodes:
            with self._lock:
                self._estimator.link.gave_up(sent_bytes, taken_s)
        self._client.drop_connections()
        self._go_on_alone(error)

    def _go_on_alone(self, error: RemoteError) -> None:
        if self.breaker.passes:
            _LOG.warning("the device goes on alone until the server is back: %s", error)
        self.breaker.failed(str(error), wait_s=error.retry_after_s if isinstance(error, Busy) else None)


def _link_s(up_bytes: float, down_bytes: float, now: Conditions) -> tuple[float, float]:
    """Return the seconds of both ways; the round trip is counted to the first."""
    return 8.0 * up_bytes / now.uplink_bits_per_s + now.rtt_s, 8.0 * down_bytes / now.downlink_bits_per_s


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
