"""One connection of a client, in a thread of its own: requests come in, answers go out, nobody holds it up for ever.

Blocking sockets, because a thread that receives, runs and answers hands nothing over to another: that costs less time
than an event loop, and a body goes from the kernel into its arrays, and the outputs back, without a copy between.
"""

import contextlib
import socket
import ssl
import time
from dataclasses import replace

from partition.serve.http import LARGEST_HEAD_BYTES, Response, error_response, read_head, write_head
from partition.serve.logs import LOGGER
from partition.serve.service import Exchange, Service
from partition.v2.errors import ProtocolError
from partition.v2.tensors import Bytes

_HEAD_END = b"\r\n\r\n"
# A body that nobody wants is received up to this size so that the connection can go on.
_DROPPED_BYTES = 1024 * 1024
_LINGER_S = 2.0
# Who asks again before the time of Retry-After is over waits so long for the next refusal: clients that try again at
# once would keep the processors from those whose requests were taken.
_RETRY_AFTER_S = 1.0
_SECOND_REFUSAL_S = 0.2
_MOST_CHUNKS = 64


class Connection:
    """Serves one client until it leaves, breaks the protocol or is idle for too long."""

    def __init__(self, service: Service, client: socket.socket, address: str) -> None:
        self._service = service
        self._socket = client
        self._address = address
        self._head = bytearray(LARGEST_HEAD_BYTES)
        self._filled = 0
        self._expects = False
        self._refused_s = -_RETRY_AFTER_S
        self.busy = False
        """Whether a request's head has come and its answer is not sent yet."""
        self.since_s = time.monotonic()
        """Since when it is as `busy` says."""

    def serve(self) -> None:
        """Answer requests until the connection ends; then it is closed."""
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.settimeout(self._service.limits.head_timeout_s)
                self._socket.do_handshake()
            while self._serve_one():
                pass
        except OSError:
            pass  # The client has left, or the time for it is over: there is nobody to tell.
        except Exception:
            LOGGER.exception("connection failed")
        finally:
            with contextlib.suppress(OSError):
                self._socket.close()

    def end(self) -> None:
        """Wake the thread out of waiting for its client; may be called from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _serve_one(self) -> bool:
        """Answer one request; say whether another may come."""
        try:
            content = self._receive_head()
            if content is None:
                return False
            self._mark(busy=True)
            start = time.perf_counter()
            exchange = Exchange(read_head(content))
        except ProtocolError as error:
            # What follows cannot be told from this request, so the connection is of no use.
            response = error_response(str(error), error.status)
            self._service.statistics.answered(error.status, 0, response.size_bytes)
            self._send(response, closes=True)
            self._linger()
            return False
        with exchange.resources:
            response = self._answer(exchange)
            if response.status == 503 and exchange.body_received:
                exchange.resources.close()
                self._slow_down()
            closes = response.closes or exchange.head.closes or self._service.draining
            left = 0 if exchange.body_received else exchange.head.body_bytes
            if left:
                # Nobody wants it: received so that the connection can go on, or left to end it.
                closes = closes or self._expects or left > _DROPPED_BYTES
                if not closes:
                    self._receive_body(memoryview(bytearray(left)))
                    left = 0
            received = exchange.head.body_bytes - left
            self._service.statistics.answered(response.status, received, response.size_bytes)
            self._send(response, closes=closes)
        if LOGGER.isEnabledFor(20):
            self._log(exchange, response, time.perf_counter() - start)
        self._mark(busy=False)
        if closes:
            self._linger()
        return not closes

    def _slow_down(self) -> None:
        """Hold up a client that was refused a moment ago, and asked again at once."""
        if time.monotonic() - self._refused_s < _RETRY_AFTER_S and not self._service.draining:
            time.sleep(_SECOND_REFUSAL_S)
        self._refused_s = time.monotonic()

    def _mark(self, *, busy: bool) -> None:
        self.busy, self.since_s = busy, time.monotonic()

    def _answer(self, exchange: Exchange) -> Response:
        expectation = exchange.head.headers.get("expect", "")
        self._expects = expectation.lower() == "100-continue" and exchange.head.body_bytes > 0
        try:
            if expectation and expectation.lower() != "100-continue":
                raise ProtocolError("the header expect is not supported but as 100-continue", 417)
            return self._service.answer(exchange, self._receive_body, self._is_alive)
        except ProtocolError as error:
            if error.status == 500:
                LOGGER.error("inference failed", extra={"fields": {"model": exchange.model, "reason": str(error)}})
            # A 415 tells what would be taken.
            headers = self._service.coding.headers if error.status == 415 else None
            return error_response(str(error), error.status, headers)
        except OSError:
            raise
        except MemoryError:
            LOGGER.error("out of memory", extra={"fields": {"model": exchange.model}})
            return replace(error_response("out of memory; try again later", 503), closes=True)
        except Exception:
            LOGGER.exception("request failed")
            return replace(error_response("internal error; the server's log tells more", 500), closes=True)

    def _receive_head(self) -> bytes | None:
        """Return the next head without its end, or None when the client has left between two requests.

        Raises
        ------
        ProtocolError
            It is too long, or did not come in time.
        """
        limits = self._service.limits
        deadline = None
        view = memoryview(self._head)
        while True:
            if self._filled and deadline is None:
                deadline = time.monotonic() + limits.head_timeout_s
            end = self._head.find(_HEAD_END, 0, self._filled)
            if end >= 0:
                content = bytes(view[:end])
                self._keep_from(end + len(_HEAD_END))
                return content
            if self._filled == LARGEST_HEAD_BYTES:
                raise ProtocolError(f"the head of the request is longer than {LARGEST_HEAD_BYTES} bytes", 431)
            wait_s = limits.idle_timeout_s if deadline is None else deadline - time.monotonic()
            try:
                if wait_s <= 0:
                    raise TimeoutError
                self._socket.settimeout(wait_s)
                count = self._socket.recv_into(view[self._filled :])
            except TimeoutError as error:
                if deadline is None:
                    return None
                raise ProtocolError("the head of the request did not come in time", 408) from error
            if count == 0:
                return None
            self._filled += count

    def _keep_from(self, place: int) -> None:
        """Keep what was received of the body, and of requests behind it."""
        rest = self._filled - place
        self._head[:rest] = self._head[place : self._filled]
        self._filled = rest

    def _receive_body(self, body: memoryview) -> None:
        """Fill a buffer with the body."""
        if self._expects:
            self._expects = False
            self._send_all([b"HTTP/1.1 100 Continue\r\n\r\n"])
        count = min(self._filled, len(body))
        if count:
            body[:count] = memoryview(self._head)[:count]
            self._keep_from(count)
        deadline = time.monotonic() + self._service.limits.transfer_timeout_s
        while count < len(body):
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            got = self._socket.recv_into(body[count:])
            if got == 0:
                raise ConnectionError("the client left within its request")
            count += got

    def _is_alive(self) -> bool:
        """Say whether the client has not left; where that cannot be seen it is taken to be there."""
        if isinstance(self._socket, ssl.SSLSocket):
            return True
        try:
            self._socket.settimeout(0)
            return self._socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _send(self, response: Response, *, closes: bool) -> None:
        self._send_all([write_head(response, closes=closes), *response.chunks])

    def _send_all(self, chunks: list[Bytes]) -> None:
        deadline = time.monotonic() + self._service.limits.transfer_timeout_s
        if isinstance(self._socket, ssl.SSLSocket) or not hasattr(self._socket, "sendmsg"):
            # What comes first is small, and each call would be a packet of its own.
            for chunk in (b"".join(map(bytes, chunks[:2])), *chunks[2:]):
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                self._socket.sendall(chunk)
            return
        views = [memoryview(chunk) for chunk in chunks if len(chunk)]
        first = 0
        while first < len(views):
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            sent = self._socket.sendmsg(views[first : first + _MOST_CHUNKS])
            while first < len(views) and sent >= len(views[first]):
                sent -= len(views[first])
                first += 1
            if sent:
                views[first] = views[first][sent:]

    def _linger(self) -> None:
        """Let the client read the answer before the connection ends: data left unread would reset it."""
        deadline = time.monotonic() + _LINGER_S
        scrap = bytearray(64 * 1024)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while (left_s := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left_s)
                if self._socket.recv_into(scrap) == 0:
                    return

    def _log(self, exchange: Exchange, response: Response, total_s: float) -> None:
        times = exchange.times
        LOGGER.info(
            "request",
            extra={
                "fields": {
                    "client": self._address,
                    "method": exchange.head.method,
                    "path": exchange.head.path[:200],
                    "model": exchange.model,
                    "status": response.status,
                    "received_bytes": exchange.head.body_bytes if exchange.body_received else 0,
                    "sent_bytes": response.size_bytes,
                    "receive_s": round(times.receive_s, 6),
                    "queue_s": round(times.queue_s, 6),
                    "compute_s": round(times.compute_infer_s, 6),
                    "total_s": round(total_s, 6),
                }
            },
        )
