"""A client of a V2 server: connections that are kept, requests that end in time, and every answer checked."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from numpy.typing import NDArray

from partition.closing import Closing
from partition.remote.compression import Coding, is_packed
from partition.remote.errors import BadAnswer, Busy, Refused, TimedOut, Unreachable
from partition.remote.wire import Bytes, Connection, Endpoint, Reply
from partition.v2.codec import JSON_LENGTH_HEADER, decode_response, encode_request
from partition.v2.compression import accepts
from partition.v2.datatypes import datatype_of_array, datatype_of_onnx
from partition.v2.errors import ProtocolError
from partition.v2.input_codec import CODECS_PARAMETER, known
from partition.v2.names import VERSION, StageInterface

Array = NDArray[Any]

_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one request took, as seen from here and, where the server tells, from there.

    Attributes
    ----------
    begun_s : float
        When the request began to go out, by `time.perf_counter`.
    until_first_byte_s, receive_s : float
        From there to the first byte of the answer; from that to its last.
    sent_bytes, received_bytes : int
        Heads included.
    compute_s, queue_s : float or None
        Of the server; None where it does not tell.
    cold : bool
        Whether it was the first on its connection.
    coding_s : float
        What the server took to decompress the request and to compress its answer, as it tells.
    """

    begun_s: float
    until_first_byte_s: float
    receive_s: float
    sent_bytes: int
    received_bytes: int
    compute_s: float | None
    queue_s: float | None
    cold: bool
    coding_s: float = 0.0

    @property
    def total_s(self) -> float:
        """From the first byte out to the last byte in."""
        return self.until_first_byte_s + self.receive_s


class V2Client(Closing):
    """Talks to one server over connections that are kept; several threads may use it at once.

    Parameters
    ----------
    endpoint : Endpoint
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._shapes: dict[tuple[str, str], tuple[int, ...]] = {}
        self._closed = False
        # Of stages that were checked, the inputs without dimensions for which the server takes a single one.
        self._widened: dict[str, frozenset[str]] = {}
        self.takes_zstd = False
        """Whether the server said, when a stage was checked, that it takes compressed bodies."""

    def close(self) -> None:
        """Close all connections that rest; those in use close when their answer has come."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def drop_connections(self) -> None:
        """Close the connections that rest, as after a fault that may have met them all."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def infer(
        self,
        stage: StageInterface,
        inputs: Mapping[str, Array],
        *,
        timeout_s: float,
        encoded: Mapping[str, tuple[str, bytes]] | None = None,
        coding: Coding | None = None,
    ) -> tuple[dict[str, Array], Exchange]:
        """Let the server run a stage.

        Parameters
        ----------
        stage : StageInterface
        inputs : mapping of str to numpy.ndarray
            Every input of the stage but those that go encoded.
        timeout_s : float
            For everything together, a second try on another connection included.
        encoded : mapping of str to (str, bytes), optional
            Inputs that go encoded: the codec's name, and what it made of them.
        coding : Coding, optional
            What is compressed of request and answer, and what came of it; nothing if not given.

        Returns
        -------
        outputs : dict of str to numpy.ndarray
            Views of the answer where that is possible.
        exchange : Exchange

        Raises
        ------
        RemoteError
            No answer, or none that can be used; see `partition.remote.errors`.
        """
        widened = self._widened.get(stage.name, frozenset())
        sent = {name: value.reshape(1) if name in widened else value for name, value in inputs.items()}
        message = encode_request(sent, outputs=[one.name for one in stage.outputs], encoded=encoded)
        path = f"/v2/models/{quote(stage.name)}/infer"
        headers, chunks = (message.headers, message.chunks) if coding is None else coding.pack(message)
        begun_s = time.perf_counter()
        reply = self._request("POST", path, headers=headers, chunks=chunks, timeout_s=timeout_s)
        if reply.status == 415 and coding is not None and coding.packs:
            # It took them when it was asked: another server by now, or a proxy between.
            headers, chunks = coding.refused(message)
            left_s = max(0.001, timeout_s - (time.perf_counter() - begun_s))
            reply = self._request("POST", path, headers=headers, chunks=chunks, timeout_s=left_s)
        self._raise_for_status(reply, f"the model '{stage.name}'")
        body = self._plain(reply) if coding is None else coding.unpack(reply, str(self.endpoint))
        try:
            answer = decode_response(body, reply.headers.get(JSON_LENGTH_HEADER.lower()))
        except ProtocolError as error:
            raise BadAnswer(f"server {self.endpoint}: {error}") from error
        for tensor in stage.outputs:
            value = answer.outputs.get(tensor.name)
            if value is not None and not tensor.shape and value.shape == (1,):
                answer.outputs[tensor.name] = value.reshape(())
        self._check_outputs(stage, answer.outputs)
        return answer.outputs, Exchange(
            begun_s=reply.begun_s,
            until_first_byte_s=reply.first_byte_s - reply.begun_s,
            receive_s=reply.ended_s - reply.first_byte_s,
            sent_bytes=reply.sent_bytes,
            received_bytes=reply.received_bytes,
            compute_s=_seconds(answer.parameters.get("compute_s")),
            queue_s=_seconds(answer.parameters.get("queue_s")),
            cold=reply.cold,
            coding_s=0.0 if coding is None else coding.server_s,
        )

    def check_stage(self, stage: StageInterface, *, timeout_s: float, codecs: Mapping[str, str] | None = None) -> None:
        """Make sure that the server has a stage, of the very files that its name stands for.

        Parameters
        ----------
        stage : StageInterface
        timeout_s : float
        codecs : mapping of str to str, optional
            By which codec inputs will go encoded.

        Raises
        ------
        Refused
            It has not, takes and gives other tensors, or does not decode them.
        RemoteError
            No answer.
        """
        reply = self._request("GET", f"/v2/models/{quote(stage.name)}", timeout_s=timeout_s)
        if reply.status == 404:
            raise Refused(
                f"server {self.endpoint} has no model '{stage.name}': it serves another save of this plan, or none; "
                "serve the folder that this plan was loaded from"
            )
        self._raise_for_status(reply, f"the model '{stage.name}'")
        self.takes_zstd = accepts(reply.headers.get("accept-encoding", ""))
        found = self._json(reply)
        self._check_codecs(stage, _named(found.get("inputs")), codecs or {})
        shapes = {one["name"]: one.get("shape") for one in _named(found.get("inputs"))}
        # Triton knows no tensors without dimensions.
        self._widened[stage.name] = frozenset(
            one.name for one in stage.inputs if not one.shape and shapes.get(one.name) == [1]
        )
        for side, own in (("inputs", stage.inputs), ("outputs", stage.outputs)):
            described = _named(found.get(side))
            theirs = {one["name"]: one.get("datatype") for one in described}
            if side == "outputs":
                self._shapes |= {(stage.name, one["name"]): _shape(one.get("shape")) for one in described}
            for tensor in own:
                datatype = datatype_of_onnx(tensor.dtype, tensor.name)
                if theirs.get(tensor.name) != datatype:
                    raise Refused(
                        f"server {self.endpoint}: the model '{stage.name}' has {theirs} as {side}, expected "
                        f"'{tensor.name}' of {datatype} among them"
                    )

    def _check_codecs(self, stage: StageInterface, described: list[dict[str, Any]], codecs: Mapping[str, str]) -> None:
        parameters = {one["name"]: one.get("parameters") for one in described}
        for tensor in stage.inputs:
            codec = codecs.get(tensor.name)
            if codec is None:
                continue
            told = parameters.get(tensor.name)
            text = told.get(CODECS_PARAMETER) if isinstance(told, dict) else None
            served = text.split(",") if isinstance(text, str) and text else []
            if codec not in served:
                raise Refused(
                    f"server {self.endpoint} does not decode the input '{tensor.name}' of '{stage.name}' by the codec "
                    f"'{codec}'; its codecs are {known(served)[:_LONGEST_REASON]}: start it with this one (--codec)"
                )

    def ready(self, stage: StageInterface, *, timeout_s: float) -> bool:
        """Ask whether the server can run a stage now. Raises RemoteError if there is no answer."""
        reply = self._request("GET", f"/v2/models/{quote(stage.name)}/versions/{VERSION}/ready", timeout_s=timeout_s)
        return reply.status == 200

    def ping(self, *, timeout_s: float) -> Exchange:
        """Send the shortest request that there is. Raises RemoteError if there is no answer."""
        reply = self._request("GET", "/v2/health/live", timeout_s=timeout_s)
        self._raise_for_status(reply, "its health")
        return Exchange(
            reply.begun_s,
            reply.first_byte_s - reply.begun_s,
            reply.ended_s - reply.first_byte_s,
            reply.sent_bytes,
            reply.received_bytes,
            0.0,
            0.0,
            reply.cold,
        )

    def _request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        chunks: Sequence[Bytes] = (),
    ) -> Reply:
        deadline_s = time.perf_counter() + timeout_s
        while True:
            connection = self._take()
            rested = connection is not None
            if connection is None:
                connection = Connection(self.endpoint, deadline_s=deadline_s)
            try:
                reply = connection.exchange(method, path, headers=headers, chunks=chunks, deadline_s=deadline_s)
            except TimedOut:
                raise
            except Unreachable:
                # The server may have closed it while it rested. Inference can be asked for twice.
                if rested:
                    continue
                raise
            self._put_back(connection)
            return reply

    def _take(self) -> Connection | None:
        with self._lock:
            if self._closed:
                raise Unreachable(f"the client of server {self.endpoint} is closed")
            return self._idle.pop() if self._idle else None

    def _put_back(self, connection: Connection) -> None:
        with self._lock:
            keep = connection.usable and not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def _raise_for_status(self, reply: Reply, what: str) -> None:
        if reply.status == 200:
            return
        reason = _reason(reply)
        text = f"server {self.endpoint}, asked for {what}, answered {reply.status}{reason}"
        if reply.status in (429, 503):
            raise Busy(text, _seconds(_number(reply.headers.get("retry-after"))))
        if reply.status in (401, 403):
            raise Refused(f"{text}; give the token that the server was started with")
        raise (Refused if 400 <= reply.status < 500 else BadAnswer)(text)

    def _plain(self, reply: Reply) -> memoryview:
        """Return the body of an answer that was not asked for compressed."""
        if is_packed(reply):
            raise BadAnswer(f"server {self.endpoint} compressed an answer though that was not asked for")
        return reply.body

    def _json(self, reply: Reply) -> dict[str, Any]:
        body = self._plain(reply)
        try:
            content = json.loads(bytes(body))
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"server {self.endpoint} sent what is not JSON: {str(error)[:_LONGEST_REASON]}") from error
        if not isinstance(content, dict):
            raise BadAnswer(f"server {self.endpoint} sent a JSON {type(content).__name__}, expected an object")
        return content

    def _check_outputs(self, stage: StageInterface, outputs: Mapping[str, Array]) -> None:
        for tensor in stage.outputs:
            if tensor.name not in outputs:
                raise BadAnswer(f"server {self.endpoint} left out the output '{tensor.name}' of '{stage.name}'")
            value = outputs[tensor.name]
            wanted = datatype_of_onnx(tensor.dtype, tensor.name)
            # What the server has said of it; -1 where the model leaves a size open.
            told = self._shapes.get((stage.name, tensor.name), ())
            fits = len(told) != value.ndim or all(
                size in (-1, got) for size, got in zip(told, value.shape, strict=True)
            )
            if datatype_of_array(value, tensor.name) != wanted or value.ndim != len(tensor.shape) or not fits:
                raise BadAnswer(
                    f"server {self.endpoint} sent the output '{tensor.name}' as {value.dtype} of shape "
                    f"{list(value.shape)}; expected is {wanted} with {len(tensor.shape)} dimensions"
                )


def _reason(reply: Reply) -> str:
    try:
        text = json.loads(bytes(reply.body[: 16 * 1024])).get("error")
    except (ValueError, RecursionError, AttributeError):
        text = None
    return f": {text[:_LONGEST_REASON]}" if isinstance(text, str) and text else ""


def _named(value: object) -> list[dict[str, Any]]:
    """Return the tensors of a description; what has no name, or none that is text, is not one of ours."""
    entries = value if isinstance(value, list) else []
    return [one for one in entries if isinstance(one, dict) and isinstance(one.get("name"), str)]


def _shape(value: object) -> tuple[int, ...]:
    sizes = value if isinstance(value, list) else []
    return tuple(size for size in sizes if isinstance(size, int) and not isinstance(size, bool))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _seconds(value: object) -> float | None:
    """Return a time that a server tells, or None for what cannot be one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e6 else None  # type: ignore[operator,arg-type]
