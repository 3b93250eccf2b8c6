"""Bodies that zstd makes smaller on the way, as HTTP negotiates it: packed, and unpacked within bounds.

``Content-Encoding: zstd`` says that a body is packed, ``Accept-Encoding: zstd`` in a request that its answer may be,
and in an answer (RFC 7694) that requests may be. What is packed is the whole body, so
``Inference-Header-Content-Length`` counts bytes of the plain one. The package ``zstandard`` is an extra, and loaded
where it is used.
"""

import re
from collections.abc import Iterable

from partition.v2.errors import ProtocolError
from partition.v2.tensors import Bytes

ZSTD = "zstd"
"""The name of the coding in HTTP."""
LEVEL = 1
"""Of zstd: on activations higher ones save 1 or 2 % more bytes, and take up to ten times as long."""
LEAST_BYTES = 4096
"""Bodies below this travel as they are: headers and the round trip are most of what they cost."""
LARGEST_BYTES = 64 * 1024 * 1024
"""Bodies beyond this travel as they are, and no packed one may hold more."""

_MAGIC = b"\x28\xb5\x2f\xfd"
# A block of a frame holds 128 KiB at most and has 4 bytes at least.
_MOST_PER_BYTE = 128 * 1024 // 4
# What RFC 9659 allows to this content coding.
_LARGEST_WINDOW_BYTES = 8 * 1024 * 1024
_NO_WEIGHT = re.compile(r"q=0(\.0{0,3})?")
_DURATION = re.compile(r"(?<![\w-])(compress|decompress);dur=([0-9]{1,9}(?:\.[0-9]{1,6})?)(?=[,;\s]|$)")


def is_installed() -> bool:
    """Say whether bodies can be packed and unpacked here; it loads what does that."""
    try:
        import zstandard
    except ImportError:
        return False
    return bool(zstandard.__version__)


def packed(chunks: Iterable[Bytes], size_bytes: int) -> tuple[bytes, ...]:
    """Pack a body into one frame, which tells its size and has a checksum.

    Parameters
    ----------
    chunks : iterable of bytes-like
        The body.
    size_bytes : int
        Of all chunks.
    """
    import zstandard

    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=size_bytes)
    found = [packer.compress(chunk) for chunk in chunks]
    return tuple(chunk for chunk in (*found, packer.flush()) if chunk)


def plain_size(content: Bytes, most_bytes: int) -> int:
    """Return how many bytes a packed body says that it holds, where that can be true; nothing is unpacked.

    Parameters
    ----------
    content : bytes-like
        All of the body.
    most_bytes : int
        How many it may hold.

    Raises
    ------
    ProtocolError
        Status 400: it is no frame, or does not say how much it holds, or more than so many bytes ever hold; 413: it
        holds more than it may.
    """
    import zstandard

    try:
        # A frame that is skipped, and so holds nothing, begins otherwise.
        if bytes(content[:4]) != _MAGIC:
            raise ProtocolError("the body is not one frame of zstd, which its Content-Encoding says")
        size = zstandard.get_frame_parameters(content).content_size
    except zstandard.ZstdError as error:
        raise ProtocolError(f"the body cannot be decompressed: {error}") from error
    if size == zstandard.CONTENTSIZE_UNKNOWN:
        raise ProtocolError("the body's frame of zstd does not say how many bytes it holds; write that into its header")
    if size > most_bytes:
        raise ProtocolError(f"the body holds {size} bytes, compressed; at most {most_bytes} are taken", 413)
    if size > len(content) * _MOST_PER_BYTE:
        raise ProtocolError(f"the body cannot be decompressed: {len(content)} bytes never hold {size}")
    return int(size)


def unpacked(content: Bytes, size_bytes: int) -> bytes:
    """Unpack a body into memory of the size that `plain_size` found: neither more nor less may come out.

    Raises
    ------
    ProtocolError
        Status 400: it is damaged, truncated, holds something else than it says, or there is something behind it.
    """
    import zstandard

    try:
        # It takes as much memory as the frame says, which was checked, and stops there whatever comes.
        plain = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW_BYTES).decompress(
            content, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ProtocolError(f"the body cannot be decompressed: {error}") from error
    if len(plain) != size_bytes:
        raise ProtocolError(f"the body cannot be decompressed: it holds {len(plain)} bytes, and says {size_bytes}")
    return plain


def accepts(header: str) -> bool:
    """Say whether an ``Accept-Encoding`` names zstd, and not with the weight 0."""
    for one in header.lower().split(","):
        coding, *parameters = (part.strip() for part in one.split(";"))
        if coding == ZSTD:
            return not any(_NO_WEIGHT.fullmatch(parameter) for parameter in parameters)
    return False


def timing_header(*, decompress_s: float | None, compress_s: float | None) -> dict[str, str]:
    """Return the header ``Server-Timing`` with what a server did of both."""
    told = {"decompress": decompress_s, "compress": compress_s}
    text = ", ".join(f"{name};dur={1e3 * seconds:.3f}" for name, seconds in told.items() if seconds is not None)
    return {"Server-Timing": text} if text else {}


def read_timing(header: str) -> tuple[float | None, float | None]:
    """Return the seconds of decompressing and of compressing that a ``Server-Timing`` tells; None where it does not."""
    found = {name: 1e-3 * float(duration) for name, duration in _DURATION.findall(header)}
    return found.get("decompress"), found.get("compress")
