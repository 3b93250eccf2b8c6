"""Compressed bodies on the server: which are taken, what they may hold, and which answers go out compressed."""

import time

from partition.errors import InputError
from partition.serve.http import Head, Response
from partition.serve.statistics import Statistics
from partition.v2.codec import Message
from partition.v2.compression import (
    LARGEST_BYTES,
    LEAST_BYTES,
    ZSTD,
    accepts,
    is_installed,
    packed,
    timing_header,
)
from partition.v2.errors import ProtocolError

# An answer that is hardly smaller goes out as it is: the client would unpack it for nothing.
_WORTHWHILE = 0.97


class BodyCoding:
    """What a server does with compressed bodies.

    Parameters
    ----------
    wanted : bool or None
        Whether to take and give them; None does where the package is installed.

    Raises
    ------
    InputError
        They are wanted, and the package is not installed.
    """

    def __init__(self, wanted: bool | None) -> None:
        installed = is_installed()
        if wanted and not installed:
            raise InputError(
                "compression needs the package 'zstandard', which is not installed; install the extra zstd, or leave "
                "--compression out"
            )
        self.enabled = installed if wanted is None else wanted
        self.reason = "" if self.enabled else "switched off" if installed else "zstandard is not installed: extra zstd"
        """Why not, if not."""
        self.headers = {"Accept-Encoding": ZSTD if self.enabled else "identity"}
        """What tells clients which bodies are taken."""

    def is_packed(self, head: Head) -> bool:
        """Say whether a request's body is compressed.

        Raises
        ------
        ProtocolError
            Status 415: by what this server does not take.
        """
        coding = head.headers.get("content-encoding", "identity").lower()
        if coding == "identity":
            return False
        if coding == ZSTD and self.enabled:
            return True
        legal = "send zstd, or the body as it is" if self.enabled else "send the body as it is"
        raise ProtocolError(f"content-encoding {coding[:40]} is not supported; {legal}", 415)

    def response(self, message: Message, head: Head, unpack_s: float | None, statistics: Statistics) -> Response:
        """Return an answer, compressed if the client takes that and it gets smaller by it.

        Parameters
        ----------
        message : Message
        head : Head
            Of the request.
        unpack_s : float or None
            What decompressing that took, if it was compressed.
        statistics : Statistics
        """
        asked = self.enabled and accepts(head.headers.get("accept-encoding", ""))
        if not asked or not LEAST_BYTES <= message.size_bytes <= LARGEST_BYTES:
            timing = timing_header(decompress_s=unpack_s, compress_s=None)
            return Response(200, message.chunks, message.headers | timing)
        begun = time.perf_counter()
        chunks = packed(message.chunks, message.size_bytes)
        size_bytes = sum(map(len, chunks))
        timing = timing_header(decompress_s=unpack_s, compress_s=time.perf_counter() - begun)
        if size_bytes > _WORTHWHILE * message.size_bytes:
            return Response(200, message.chunks, message.headers | timing)
        statistics.compressed("out", size_bytes, message.size_bytes)
        sizes = {"Content-Length": str(size_bytes), "Content-Encoding": ZSTD}
        return Response(200, chunks, message.headers | sizes | timing)
