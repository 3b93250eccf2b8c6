"""Whether a session's messages go compressed: where the server takes that, and where it was seen to pay.

Compressing pays where packing and unpacking take less time than the bytes that they save take on the link. Of each
stage and direction the last messages tell which share is left and what both ends took, and the session's estimate tells
the rate. What does not pay goes as it is, and is tried again after `RETRY_AFTER` messages: what is sent may change.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from partition.adaptation.conditions import Conditions
from partition.errors import InputError
from partition.remote.errors import BadAnswer
from partition.remote.local_parts import Runner, at_once
from partition.remote.records import CompressionRecord
from partition.remote.wire import Reply
from partition.v2.codec import Message
from partition.v2.compression import (
    LARGEST_BYTES,
    LEAST_BYTES,
    ZSTD,
    is_installed,
    packed,
    plain_size,
    read_timing,
    unpacked,
)
from partition.v2.errors import ProtocolError
from partition.v2.tensors import Bytes

RETRY_AFTER = 32
"""So many messages go as they are before compressing is tried again."""

_NO_PAY = "compressing does not pay"
_NOT_TAKEN = "the server does not take zstd"
_TOO_LARGE = f"no body beyond {LARGEST_BYTES} bytes is compressed"


@dataclass(slots=True)
class _Way:
    """What compressing did to the messages of one stage in one direction; times are seconds a plain byte.

    `share` of the bytes is left, and is None until it was tried; `unpack_s` is taken to be as `pack_s` until it was
    seen; so many messages were `refused` since.
    """

    share: float | None = None
    pack_s: float = 0.0
    unpack_s: float | None = None
    refused: int = 0

    @property
    def coding_s(self) -> float:
        return self.pack_s + (self.pack_s if self.unpack_s is None else self.unpack_s)

    def pays(self, size_bytes: float, bits_per_s: float) -> bool:
        """Say whether the next message is known to get faster."""
        if self.share is None or not LEAST_BYTES <= size_bytes <= LARGEST_BYTES:
            return False
        return self.coding_s < (1.0 - self.share) * 8.0 / bits_per_s

    def saw_packing(self, plain_bytes: int, wire_bytes: int, taken_s: float) -> None:
        self.pack_s = _mixed(self.pack_s if self.share is not None else None, taken_s / plain_bytes)
        self.share, self.refused = wire_bytes / plain_bytes, 0

    def saw_unpacking(self, plain_bytes: int, taken_s: float) -> None:
        self.unpack_s = _mixed(self.unpack_s, taken_s / plain_bytes)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request and its answer are expected to be: bytes on the way, and seconds that both ends take for it."""

    up_bytes: float
    down_bytes: float
    coding_s: float


class Compression:
    """What a session knows of compressing its messages; several threads may use it at once.

    Parameters
    ----------
    on_device : callable
        Runs what is packed and unpacked here.

    Raises
    ------
    InputError
        The package zstandard is not installed.
    """

    def __init__(self, on_device: Runner = at_once) -> None:
        if not is_installed():
            raise InputError(
                "compression is 'zstd', and the package 'zstandard' is not installed here; install the extra zstd, or "
                "leave compression out"
            )
        self.on_device = on_device
        self.lock = threading.Lock()
        self.is_taken = False
        """Whether the server takes compressed bodies, as far as it was asked."""
        self._ways: dict[str, tuple[_Way, _Way]] = {}

    def expected(self, stage: str, up_bytes: float, down_bytes: float, now: Conditions) -> Expected:
        """Return what compressing is expected to make of a request and its answer, of so many plain bytes."""
        with self.lock:
            ways = self._ways.setdefault(stage, (_Way(), _Way()))
            sizes, coding_s = [], 0.0
            rates = (now.uplink_bits_per_s, now.downlink_bits_per_s)
            for way, size_bytes, rate in zip(ways, (up_bytes, down_bytes), rates, strict=True):
                pays = self.is_taken and way.pays(size_bytes, rate)
                sizes.append(size_bytes * (way.share or 1.0) if pays else size_bytes)
                coding_s += size_bytes * way.coding_s if pays else 0.0
        return Expected(sizes[0], sizes[1], coding_s)

    def begin(self, stage: str, up_bytes: float, down_bytes: float, now: Conditions) -> "Coding":
        """Decide on a request and its answer, of so many plain bytes, headers included."""
        expected = self.expected(stage, up_bytes, down_bytes, now)
        with self.lock:
            up, down = self._ways[stage]
            found = Coding(self, up, down, now, expected)
            if not self.is_taken:
                found.remark = _NOT_TAKEN
                return found
            found.packs = self._wanted(up, up_bytes, now.uplink_bits_per_s)
            found.accepts = self._wanted(down, down_bytes, now.downlink_bits_per_s)
            if not found.packs and up_bytes >= LEAST_BYTES:
                found.remark = _NO_PAY if up_bytes <= LARGEST_BYTES else _TOO_LARGE
        return found

    @staticmethod
    def _wanted(way: _Way, size_bytes: float, bits_per_s: float) -> bool:
        """Say whether to compress a message, be it to see what comes of it."""
        if not LEAST_BYTES <= size_bytes <= LARGEST_BYTES:
            return False
        if way.share is None or way.pays(size_bytes, bits_per_s):
            return True
        way.refused += 1
        return way.refused > RETRY_AFTER


@dataclass(slots=True)
class Coding:
    """One request and its answer: what is compressed of them, and what came of it; `Compression.begin` makes it.

    Attributes
    ----------
    compression : Compression
    up, down : _Way
    now : Conditions
    expected : Expected
    packs, accepts : bool
        Whether the request is compressed, and whether its answer may be.
    remark : str or None
        Why the request is not, where that is not because it is small.
    saved_bytes, received_saved_bytes : int
        Of the request's and the answer's body.
    device_s, server_s : float
        What packing and unpacking took here, and there.
    """

    compression: Compression
    up: _Way
    down: _Way
    now: Conditions
    expected: Expected
    packs: bool = False
    accepts: bool = False
    remark: str | None = None
    saved_bytes: int = 0
    received_saved_bytes: int = 0
    device_s: float = 0.0
    server_s: float = 0.0
    _plain_bytes: int = field(default=0, repr=False)

    def pack(self, message: Message) -> tuple[Mapping[str, str], tuple[Bytes, ...]]:
        """Return headers and body of a request as they go out: compressed, unless that turns out not to pay."""
        self._plain_bytes = message.size_bytes
        headers = message.headers | ({"Accept-Encoding": ZSTD} if self.accepts else {})
        if not self.packs:
            return headers, message.chunks
        chunks: tuple[bytes, ...] = ()

        def work() -> None:
            nonlocal chunks
            chunks = packed(message.chunks, message.size_bytes)

        taken_s = self._timed(work)
        size_bytes = sum(map(len, chunks))
        with self.compression.lock:
            self.up.saw_packing(message.size_bytes, size_bytes, taken_s)
            unpack_s = self.up.coding_s - self.up.pack_s
        # What packing took is spent: what counts from here on is unpacking.
        saved = 1.0 - size_bytes / message.size_bytes
        if unpack_s >= saved * 8.0 / self.now.uplink_bits_per_s:
            self.packs, self.remark = False, _NO_PAY
            return headers, message.chunks
        self.saved_bytes = message.size_bytes - size_bytes
        return headers | {"Content-Length": str(size_bytes), "Content-Encoding": ZSTD}, chunks

    def refused(self, message: Message) -> tuple[Mapping[str, str], tuple[Bytes, ...]]:
        """Take in that the server does not take it after all; return headers and body to send instead."""
        self.compression.is_taken = False
        self.packs = self.accepts = False
        self.saved_bytes, self.remark = 0, _NOT_TAKEN
        return message.headers, message.chunks

    def unpack(self, reply: Reply, server: str) -> Bytes:
        """Return the plain body of an answer, and learn from what the server tells.

        Raises
        ------
        BadAnswer
            The body cannot be read, or is too large.
        """
        unpack_s, pack_s = read_timing(reply.headers.get("server-timing", ""))
        self.server_s = (unpack_s or 0.0) + (pack_s or 0.0)
        body: Bytes = reply.body
        if is_packed(reply):
            if not self.accepts:
                raise BadAnswer(f"server {server} compressed an answer though that was not asked for")

            def work() -> None:
                nonlocal body
                body = unpacked(reply.body, plain_size(reply.body, LARGEST_BYTES))

            try:
                taken_s = self._timed(work)
            except ProtocolError as error:
                raise BadAnswer(f"server {server} sent an answer that cannot be read: {error}") from error
            self.received_saved_bytes = len(body) - len(reply.body)
            with self.compression.lock:
                self.down.saw_unpacking(len(body), taken_s)
        with self.compression.lock:
            if pack_s is not None and len(body):
                self.down.saw_packing(len(body), len(reply.body), pack_s)
            if unpack_s is not None and self._plain_bytes:
                self.up.saw_unpacking(self._plain_bytes, unpack_s)
        return body

    def record(self, sent_bytes: int, received_bytes: int) -> CompressionRecord:
        """Return what happened, for so many bytes on the way."""
        return CompressionRecord(
            sent_bytes + self.saved_bytes,
            received_bytes + self.received_saved_bytes,
            self.expected.coding_s,
            self.device_s,
            self.server_s,
            self.remark,
        )

    def _timed(self, work: Callable[[], None]) -> float:
        begun_s = time.perf_counter()
        self.compression.on_device(work)
        taken_s = time.perf_counter() - begun_s
        self.device_s += taken_s
        return taken_s


def is_packed(reply: Reply) -> bool:
    """Say whether an answer's body is compressed.

    Raises
    ------
    BadAnswer
        By something else than zstd, which nobody asked for.
    """
    coding = reply.headers.get("content-encoding", "identity").lower()
    if coding in ("identity", ""):
        return False
    if coding != ZSTD:
        raise BadAnswer(f"the answer is compressed by {coding[:40]!r}, which was not asked for")
    return True


def _mixed(old: float | None, new: float) -> float:
    """A single slow moment is not to switch compression off."""
    return new if old is None else 0.5 * (old + new)
