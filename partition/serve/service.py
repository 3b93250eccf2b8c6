"""What a server answers to a request, apart from how it comes and goes: routes, authentication, inference."""

import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from partition import __version__
from partition.serve.admission import Admission
from partition.serve.buffers import BufferPool, aligned
from partition.serve.coding import BodyCoding
from partition.serve.http import Head, Response, error_response, json_response
from partition.serve.limits import Limits
from partition.serve.registry import ServedModel
from partition.serve.statistics import Statistics, Times
from partition.v2.codec import JSON_LENGTH_HEADER, InferRequest, decode_request, encode_response
from partition.v2.compression import LARGEST_BYTES, plain_size, unpacked
from partition.v2.errors import ProtocolError
from partition.v2.names import VERSION
from partition.v2.tensors import Bytes

_JSON_LENGTH = JSON_LENGTH_HEADER.lower()
_HEALTH = ("/v2/health/live", "/v2/health/ready")
_KEPT_BYTES = 64 * 1024 * 1024
# While it is read, JSON takes up to thirty times its size, and a few bytes unpack to megabytes: beyond this, one body
# is read at a time.
_SMALL_JSON_BYTES = 64 * 1024

ReceiveBody = Callable[[memoryview], None]
"""Fills a buffer with the body of a request."""


@dataclass(slots=True)
class Exchange:
    """One request on its way: what was found of it, and what is to be given back when its answer is sent."""

    head: Head
    model: str = ""
    body_received: bool = False
    times: Times = field(default_factory=Times)
    resources: ExitStack = field(default_factory=ExitStack)


class Service:
    """Answers requests; all methods may be called from any thread."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        limits: Limits,
        *,
        concurrency: int,
        token: str | None,
        compression: bool | None = None,
    ) -> None:
        self.coding = BodyCoding(compression)
        self.models = dict(models)
        self.limits = limits
        self.statistics = Statistics(models)
        self.admission = Admission(
            concurrency=concurrency,
            queue=limits.queue,
            queue_timeout_s=limits.queue_timeout_s,
            waiting_bytes=limits.waiting_bytes,
        )
        self.draining = False
        self.connections = 0
        self._token = None if token is None else token.encode("utf-8")
        self._buffers = BufferPool(min(_KEPT_BYTES, limits.waiting_bytes))
        self._reading = threading.Lock()

    def answer(self, exchange: Exchange, receive: ReceiveBody, alive: Callable[[], bool]) -> Response:
        """Answer a request.

        Parameters
        ----------
        exchange : Exchange
            Told what was found on the way.
        receive : callable
            Receives the body, once at most; what is not received is the caller's to drop.
        alive : callable
            Says whether the client still waits, asked after a wait in the queue.

        Raises
        ------
        ProtocolError
            With the status to answer.
        """
        head = exchange.head
        if head.path not in _HEALTH:
            self._authenticate(head)
        self.coding.is_packed(head)
        if head.body_bytes > self.limits.body_bytes:
            raise ProtocolError(
                f"the body has {head.body_bytes} bytes; at most {self.limits.body_bytes} are taken (--max-body)", 413
            )
        place = head.path.rstrip("/").split("/")[1:]
        if place[:2] == ["v2", "models"] and len(place) > 2 and place != ["v2", "models", "stats"]:
            return self._answer_for_model(exchange, receive, alive, place[2], place[3:])
        if place == ["v2", "repository", "index"]:
            _require(head, "POST")
            ready = "UNAVAILABLE" if self.draining else "READY"
            index = [{"name": name, "version": VERSION, "state": ready} for name in self.models]
            return _json_list(index)
        answers: dict[tuple[str, ...], Callable[[], Response]] = {
            ("v2", "health", "live"): lambda: json_response({"live": True}),
            ("v2", "health", "ready"): self._ready,
            ("v2",): lambda: json_response(
                {
                    "name": "dnn-partition",
                    "version": __version__,
                    "extensions": [
                        "binary_tensor_data",
                        "statistics",
                        "model_repository",
                        *(["zstd_bodies"] if self.coding.enabled else []),
                    ],
                },
                headers=self.coding.headers,
            ),
            ("v2", "models", "stats"): lambda: json_response(self.statistics.of_models(self.models)),
            ("metrics",): self._metrics,
        }
        found = answers.get(tuple(place))
        if found is None:
            raise ProtocolError("there is nothing at this path; the protocol's paths begin with /v2", 404)
        _require(head, "GET")
        return found()

    def _authenticate(self, head: Head) -> None:
        if self._token is None:
            return
        scheme, _, given = head.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            raise ProtocolError("the token is missing or wrong; send the header 'Authorization: Bearer TOKEN'", 401)

    def _metrics(self) -> Response:
        gauges = {
            "running": ("Inferences that run.", self.admission.running),
            "waiting": ("Requests in the queue.", self.admission.waiting),
            "connections": ("Connections that are open.", self.connections),
            "ready": ("Whether requests are taken.", int(not self.draining)),
            "compression": ("Whether bodies compressed by zstd are taken and given.", int(self.coding.enabled)),
        }
        text = self.statistics.prometheus(gauges)
        return Response(200, (text,), {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _ready(self) -> Response:
        if self.draining:
            return error_response("the server is ending", 503)
        return json_response({"ready": True})

    def _answer_for_model(
        self, exchange: Exchange, receive: ReceiveBody, alive: Callable[[], bool], name: str, rest: list[str]
    ) -> Response:
        model = self.models.get(name)
        if model is None:
            raise ProtocolError("this server has no such model; /v2/repository/index lists those that it has", 404)
        if rest[:1] == ["versions"] and len(rest) > 1:
            if rest[1] != VERSION:
                raise ProtocolError(f"model '{name}' has the version {VERSION} alone", 404)
            rest = rest[2:]
        exchange.model = name
        if rest == ["infer"]:
            _require(exchange.head, "POST")
            if self.draining:
                raise ProtocolError("the server is ending; ask another one", 503)
            return self._infer(model, exchange, receive, alive)
        answers: dict[str, Callable[[], Response]] = {
            "": lambda: json_response(model.metadata(), headers=self.coding.headers),
            "ready": self._ready,
            "stats": lambda: json_response(self.statistics.of_models({name: None})),
        }
        found = answers.get("/".join(rest))
        if found is None:
            raise ProtocolError(f"model '{name}' has nothing at this path; legal are ready, infer and stats", 404)
        _require(exchange.head, "GET")
        return found()

    def _infer(
        self, model: ServedModel, exchange: Exchange, receive: ReceiveBody, alive: Callable[[], bool]
    ) -> Response:
        head, times = exchange.head, exchange.times
        if "content-length" not in head.headers:
            raise ProtocolError("an infer request needs a body with Content-Length", 411)
        # Only a hint for where to put the body: the codec checks it.
        json_bytes = _json_bytes(head)
        packed = self.coding.is_packed(head)
        start = time.perf_counter()
        # Kept until the answer is sent: an output may be a view of an input.
        exchange.resources.enter_context(self.admission.body(head.body_bytes))
        buffer = self._buffers.take(head.body_bytes)
        exchange.resources.callback(self._buffers.give, buffer)
        body = aligned(buffer, head.body_bytes, json_bytes)
        receive(body)
        exchange.body_received = True
        received = time.perf_counter()
        times.receive_s = received - start
        ok = False
        try:
            content = self._unpacked(body, exchange, received) if packed else body
            response = self._compute(model, content, exchange, received, alive)
            ok = True
        finally:
            times.total_s = time.perf_counter() - received
            self.statistics.inferred(model.name, times, ok=ok)
        return response

    def _unpacked(self, body: memoryview, exchange: Exchange, received: float) -> bytes:
        """Decompress a body; what it says that it holds is refused or reserved before memory is taken."""
        limits = self.limits
        size_bytes = plain_size(body, min(limits.body_bytes, limits.waiting_bytes - len(body), LARGEST_BYTES))
        exchange.resources.enter_context(self.admission.body(size_bytes))
        content = unpacked(body, size_bytes)
        exchange.times.decompress_s = time.perf_counter() - received
        self.statistics.compressed("in", len(body), size_bytes)
        return content

    def _decoded(self, body: Bytes, head: Head) -> InferRequest:
        """Read a request from its body, plain by now."""
        length_text = head.headers.get(_JSON_LENGTH)
        if (_json_bytes(head) or len(body)) <= _SMALL_JSON_BYTES:
            return decode_request(body, length_text)
        if not self._reading.acquire(timeout=self.limits.queue_timeout_s):
            raise ProtocolError("the JSON of other requests is being read; send binary data, or try again later", 503)
        try:
            return decode_request(body, length_text)
        finally:
            self._reading.release()

    def _compute(
        self,
        model: ServedModel,
        body: Bytes,
        exchange: Exchange,
        received: float,
        alive: Callable[[], bool],
    ) -> Response:
        times = exchange.times
        request = self._decoded(body, exchange.head)
        model.check(request.inputs, request.outputs or (), request.codecs)
        decoded = time.perf_counter()
        times.compute_input_s = decoded - received
        self.admission.enter()
        try:
            begun = time.perf_counter()
            times.queue_s = begun - decoded
            if times.queue_s > 0.001 and not alive():
                raise ProtocolError("the client has left", 408)
            # Decoding is the machine's work, too, and counts as that.
            outputs = model.run(model.decode(request.inputs, request.codecs) if request.codecs else request.inputs)
            ended = time.perf_counter()
        finally:
            self.admission.leave()
        times.compute_infer_s = ended - begun
        wanted = request.outputs or dict.fromkeys(outputs, request.binary)
        parameters: dict[str, Any] = {
            "queue_s": times.queue_s,
            "compute_s": times.compute_infer_s,
            "receive_s": times.receive_s,
        }
        message = encode_response(
            model.name,
            {name: outputs[name] for name in wanted},
            binary=wanted,
            request_id=request.request_id,
            parameters=parameters,
        )
        response = self.coding.response(message, exchange.head, times.decompress_s, self.statistics)
        times.compute_output_s = time.perf_counter() - ended
        return response


def _json_bytes(head: Head) -> int:
    """Return how many bytes of JSON a body is said to begin with; 0 where that is not said in a legal way."""
    text = head.headers.get(_JSON_LENGTH)
    return int(text) if text and re.fullmatch("[0-9]{1,18}", text) else 0


def _require(head: Head, method: str) -> None:
    if head.method != method:
        raise ProtocolError(f"this path takes {method}, not {head.method}", 405)


def _json_list(content: list[dict[str, Any]]) -> Response:
    return Response(200, (json.dumps(content).encode("ascii"),), {"Content-Type": "application/json"})
