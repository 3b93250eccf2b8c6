"""HTTP/1.1 over one connection that is kept: a request out, an answer in, every step before a deadline, with its times.

Written here, since the standard library's client has one time-out per read and none for an answer as a whole, reads
into memory of its own, and does not say when the first byte came.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from partition.errors import InputError
from partition.remote.errors import BadAnswer, Refused, TimedOut, Unreachable
from partition.remote.look_up import addresses

LARGEST_HEAD_BYTES = 64 * 1024
LARGEST_BODY_BYTES = 4 * 1024 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
# Below this, head and body go out in one packet; above, a copy would cost more than a system call.
_JOINED_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens.

    Attributes
    ----------
    host, port : str, int
    path : str
        In front of every path of the protocol; empty for most.
    tls : ssl.SSLContext or None
    token : str or None
        Sent as a bearer token.
    """

    host: str
    port: int
    path: str = ""
    tls: ssl.SSLContext | None = None
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, *, token: str | None = None, ca_file: str | None = None) -> Self:
        """Read a URL such as ``https://server:8443``.

        Raises
        ------
        InputError
            It is no URL of a server, a token cannot be sent, or the file of certificates cannot be read.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InputError(f"server {url!r} is not a URL: {error}; give such as 'http://server:8000'") from error
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise InputError(f"server {url!r} is not the URL of a server; give such as 'http://server:8000'")
        if token is not None and (not token or not token.isascii() or any(one <= " " for one in token)):
            raise InputError("the token is empty, or has characters that no header carries; give letters and digits")
        if port == 0 or not url.isascii() or any(one <= " " for one in url) or ".." in parts.hostname:
            raise InputError(f"server {url!r} is not the URL of a server; give such as 'http://server:8000'")
        context = None
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=ca_file)
            except (OSError, ValueError) as error:
                raise InputError(f"certificates '{ca_file}' cannot be read: {error}; give a PEM file") from error
        elif ca_file is not None:
            raise InputError(f"certificates '{ca_file}' belong to https, and the server is {url!r}; leave them out")
        return cls(parts.hostname, port or _PORTS[parts.scheme], parts.path.rstrip("/"), context, token)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and when it came, by `time.perf_counter`.

    Attributes
    ----------
    status : int
    headers : dict of str to str
        Names in lower case; of a repeated one the last.
    body : memoryview
    begun_s, sent_s, first_byte_s, ended_s : float
        When the request began to go out and had left this process, when the first byte of the answer came, and its
        last. What has left the process may still lie in the system's buffers.
    sent_bytes, received_bytes : int
        Heads included.
    cold : bool
        Whether this was the first exchange on its connection, which the network serves slowly.
    """

    status: int
    headers: dict[str, str]
    body: memoryview
    begun_s: float
    sent_s: float
    first_byte_s: float
    ended_s: float
    sent_bytes: int
    received_bytes: int
    cold: bool


class Connection:
    """One connection to a server; for one thread at a time.

    Parameters
    ----------
    endpoint : Endpoint
    deadline_s : float
        When it has to stand, by `time.perf_counter`.

    Raises
    ------
    Unreachable
        Nobody listens there.
    Refused
        Its certificate does not prove who it is.
    """

    def __init__(self, endpoint: Endpoint, *, deadline_s: float) -> None:
        self.endpoint = endpoint
        self.usable = True
        """Whether another exchange can follow."""
        self._exchanges = 0
        self._buffer = bytearray()
        try:
            plain = _connected(endpoint, deadline_s)
        except TimeoutError as error:
            raise TimedOut(f"server {endpoint} did not take a connection in time") from error
        except OSError as error:
            raise Unreachable(f"server {endpoint} cannot be reached: {error.strerror or error}") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if endpoint.tls is not None:
                plain.settimeout(_left_s(deadline_s))
                self._socket: socket.socket = endpoint.tls.wrap_socket(plain, server_hostname=endpoint.host)
            else:
                self._socket = plain
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise Refused(
                f"server {endpoint} is not trusted: {error.verify_message}; give the PEM file that vouches for it "
                "(ca_file, --ca-file), and the name that its certificate was made for"
            ) from error
        except (OSError, ValueError) as error:
            plain.close()
            kind = TimedOut if isinstance(error, TimeoutError) else Unreachable
            raise kind(f"server {endpoint} does not speak TLS with us: {error}") from error

    def close(self) -> None:
        """Close the connection; an exchange that runs in another thread fails."""
        self.usable = False
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exchange(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[Bytes] = (),
        deadline_s: float,
    ) -> Reply:
        """Send a request and read the answer.

        Parameters
        ----------
        method, path : str
        headers : mapping of str to str, optional
            Besides those of the connection; Content-Length among them if there is a body.
        chunks : iterable of bytes-like
            The body.
        deadline_s : float
            When the whole answer has to be here, by `time.perf_counter`.

        Raises
        ------
        TimedOut, Unreachable, BadAnswer
            The connection cannot be used afterwards.
        """
        cold, self._exchanges = self._exchanges == 0, self._exchanges + 1
        usable, self.usable = self.usable, False
        if not usable:
            raise Unreachable(f"the connection to server {self.endpoint} is closed")
        try:
            begun_s = time.perf_counter()
            sent_bytes = self._send(method, path, headers or {}, chunks, deadline_s)
            sent_s = time.perf_counter()
            status, found, first_byte_s, head_bytes = self._read_head(deadline_s)
            body = self._read_body(method, status, found, deadline_s)
            ended_s = time.perf_counter()
        except TimeoutError as error:
            self._socket.close()
            raise TimedOut(f"server {self.endpoint} did not answer in time") from error
        except OSError as error:
            self._socket.close()
            reason = error.strerror or error
            raise Unreachable(f"the connection to server {self.endpoint} was lost: {reason}") from error
        except BaseException:
            self._socket.close()
            raise
        # What lies there behind the answer is no answer to anything.
        self.usable = found.get("connection", "").lower() != "close" and not self._buffer
        if not self.usable:
            self._socket.close()
        return Reply(
            status, found, body, begun_s, sent_s, first_byte_s, ended_s, sent_bytes, head_bytes + len(body), cold
        )

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], chunks: Iterable[Bytes], deadline_s: float
    ) -> int:
        endpoint = self.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        lines = [f"{method} {endpoint.path}{path} HTTP/1.1", f"Host: {host}:{endpoint.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if endpoint.token is not None:
            lines.append(f"Authorization: Bearer {endpoint.token}")
        pending: list[Bytes] = ["\r\n".join([*lines, "", ""]).encode("ascii"), *chunks]
        total = sum(map(len, pending))
        if total <= _JOINED_BYTES:
            pending = [b"".join(pending)]
        for chunk in pending:
            self._socket.settimeout(_left_s(deadline_s))
            self._socket.sendall(chunk)
        return total

    def _receive(self, deadline_s: float) -> bytes:
        self._socket.settimeout(_left_s(deadline_s))
        return self._socket.recv(_CHUNK_BYTES)

    def _read_head(self, deadline_s: float) -> tuple[int, dict[str, str], float, int]:
        """Return status, headers, when the first byte came and how many bytes the head had."""
        first_byte_s = 0.0
        while True:
            while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                if len(self._buffer) > LARGEST_HEAD_BYTES:
                    raise BadAnswer(f"server {self.endpoint} sent more than {LARGEST_HEAD_BYTES} bytes of headers")
                received = self._receive(deadline_s)
                if not received:
                    if self._buffer:
                        raise BadAnswer(f"server {self.endpoint} closed the connection within the headers")
                    raise Unreachable(f"server {self.endpoint} closed the connection without an answer")
                first_byte_s = first_byte_s or time.perf_counter()
                self._buffer += received
            head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            status, headers = self._parsed_head(head)
            # "100 Continue" and its kind come in front of an answer.
            if status >= 200:
                return status, headers, first_byte_s or time.perf_counter(), end + 4

    def _parsed_head(self, head: bytes) -> tuple[int, dict[str, str]]:
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not _is_number(words[1]) or len(words[1]) != 3:
            raise BadAnswer(f"server {self.endpoint} does not speak HTTP: its answer begins with {first[:40]!r}")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise BadAnswer(f"server {self.endpoint} sent a header that is none: {line[:40]!r}")
            headers[name.strip().lower()] = value.strip()
        if words[0] == "HTTP/1.0":
            headers.setdefault("connection", "close")
        return int(words[1]), headers

    def _read_body(self, method: str, status: int, headers: dict[str, str], deadline_s: float) -> memoryview:
        if method == "HEAD" or status in (204, 304):
            return memoryview(b"")
        coding = headers.get("transfer-encoding", "").lower()
        if coding == "chunked":
            return self._read_chunked(deadline_s)
        length = headers.get("content-length")
        if coding or length is None or not _is_number(length):
            raise BadAnswer(f"server {self.endpoint} does not say how long its answer is (Content-Length: {length!r})")
        size = int(length)
        if size > LARGEST_BODY_BYTES:
            raise BadAnswer(f"server {self.endpoint} announces an answer of {size} bytes; {LARGEST_BODY_BYTES} at most")
        return self._read_exactly(size, deadline_s)

    def _read_exactly(self, size: int, deadline_s: float) -> memoryview:
        # Grows with what comes: a length that lies takes no memory.
        body = bytearray(min(size, max(len(self._buffer), 16 * _CHUNK_BYTES)))
        place = min(size, len(self._buffer))
        body[:place] = self._buffer[:place]
        del self._buffer[:place]
        while place < size:
            if place == len(body):
                body.extend(bytes(min(len(body), size - len(body))))
            self._socket.settimeout(_left_s(deadline_s))
            with memoryview(body) as view, view[place:] as rest:
                count = self._socket.recv_into(rest)
            if count == 0:
                raise Unreachable(f"server {self.endpoint} closed the connection after {place} of {size} bytes")
            place += count
        return memoryview(body)

    def _read_chunked(self, deadline_s: float) -> memoryview:
        body = bytearray()
        while True:
            size_text = self._read_line(deadline_s).split(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError:
                size = -1
            if not 0 <= size <= LARGEST_BODY_BYTES - len(body):
                raise BadAnswer(f"server {self.endpoint} sent a chunk of impossible length {size_text[:20]!r}")
            if size == 0:
                while self._read_line(deadline_s):
                    pass
                return memoryview(body)
            body += self._read_exactly(size, deadline_s)
            if self._read_line(deadline_s):
                raise BadAnswer(f"server {self.endpoint} sent a chunk that is longer than it said")

    def _read_line(self, deadline_s: float) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > LARGEST_HEAD_BYTES:
                raise BadAnswer(f"server {self.endpoint} sent a line that does not end")
            received = self._receive(deadline_s)
            if not received:
                raise Unreachable(f"server {self.endpoint} closed the connection within its answer")
            self._buffer += received
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _connected(endpoint: Endpoint, deadline_s: float) -> socket.socket:
    """Try the host's addresses one after the other; together they have until the deadline."""
    failure: OSError | None = None
    found = addresses(endpoint.host, endpoint.port, timeout_s=_left_s(deadline_s))
    for family, kind, protocol, _, address in found:
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(_left_s(deadline_s))
            one.connect(address)
        except OSError as error:
            one.close()
            failure = error
        else:
            return one
    raise failure or OSError("its name has no address")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.perf_counter()
    if left_s <= 0:
        raise TimeoutError("the deadline has passed")
    return left_s
