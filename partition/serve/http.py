"""The heads of HTTP/1.1 messages, read strictly: what two programs could read in two ways is refused.

Bodies come with ``Content-Length``, as all clients of the protocol send them; no chunks, no upgrade.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from partition.v2.errors import ProtocolError, shown
from partition.v2.tensors import Bytes

LARGEST_HEAD_BYTES = 16 * 1024
"""Request line and headers beyond this are refused."""

_MOST_HEADERS = 64
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_ANY_VERSION = re.compile(r"[A-Z]{1,16} [\x21-\x7e]+ HTTP/[0-9](\.[0-9])?")
_ONCE = frozenset(
    {"authorization", "content-length", "content-encoding", "expect", "host", "inference-header-content-length"}
)
_REASONS = {
    100: "Continue",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


@dataclass(frozen=True, slots=True)
class Head:
    """A request up to its body; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int
    closes: bool


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `closes` ends the connection behind it."""

    status: int
    chunks: tuple[Bytes, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    closes: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.chunks))


def read_head(content: bytes) -> Head:
    """Read a request line and its headers, without the empty line behind them.

    Raises
    ------
    ProtocolError
        With the status to answer; the connection is of no use afterwards.
    """
    first, *lines = content.decode("latin-1").split("\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        if _ANY_VERSION.fullmatch(first):
            raise ProtocolError("this server speaks HTTP/1.1 to paths that begin with '/'", 505)
        raise ProtocolError(f"the request line is {shown(first)}, which is not HTTP/1.1")
    if len(lines) > _MOST_HEADERS:
        raise ProtocolError(f"the request has {len(lines)} headers; at most {_MOST_HEADERS} are legal", 431)
    headers: dict[str, str] = {}
    for line in lines:
        matched = _HEADER.fullmatch(line)
        if matched is None:
            raise ProtocolError(f"the header line {shown(line)} is not legal")
        name, value = matched[1].lower(), matched[2].rstrip(" \t")
        if name in headers:
            if name in _ONCE:
                raise ProtocolError(f"the header {name} is there twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if "transfer-encoding" in headers:
        raise ProtocolError("send the body with Content-Length, not in chunks", 411)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) <= 18):
        raise ProtocolError(f"the header content-length is {shown(length)}; legal is a whole number")
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return Head(request[1], request[2].partition("?")[0], headers, int(length), "close" in words or request[3] == "0")


def write_head(response: Response, *, closes: bool) -> bytes:
    """Return the status line and the headers of an answer."""
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS[response.status]}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    if "Content-Length" not in response.headers:
        lines.append(f"Content-Length: {response.size_bytes}")
    if closes:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer of JSON."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Response(status, (text,), {"Content-Type": "application/json", **(headers or {})})


def error_response(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer that says what is wrong, as the protocol writes it."""
    more = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "Bearer"}}.get(status, {})
    return json_response({"error": message}, status, {**more, **(headers or {})})
