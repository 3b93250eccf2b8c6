"""Bodies packed by zstd: whole again bit for bit, or refused; never more memory than was allowed."""

import tracemalloc

import numpy as np
import pytest
import zstandard

from partition.v2.compression import (
    LARGEST_BYTES,
    accepts,
    is_installed,
    packed,
    plain_size,
    read_timing,
    timing_header,
    unpacked,
)
from partition.v2.errors import ProtocolError
from tests.partition.v2.test_codec import damaged
from tests.scale import scaled

LIMIT = 1 << 20


def whole(content, limit=LIMIT):
    return unpacked(content, plain_size(content, limit))


def features(size=20_000, seed=0):
    """Return what a ReLU leaves: zeros, and floats."""
    return np.maximum(np.random.default_rng(seed).standard_normal(size), 0).astype(np.float32)


def frame(content, **more):
    return zstandard.ZstdCompressor(level=1, **more).compress(content)


@pytest.mark.parametrize("sizes", [(1,), (10, 0, 20), (3, 300_000, 7), (70_000, 70_000)])
def test_what_is_packed_comes_out_again(sizes):
    chunks = [features(size).tobytes() if size > 100 else bytes(range(size)) for size in sizes]
    given = [memoryview(chunk) if number % 2 else chunk for number, chunk in enumerate(chunks)]
    content = b"".join(packed(given, sum(map(len, chunks))))
    assert whole(content, 1 << 22) == b"".join(chunks)
    assert whole(memoryview(content), 1 << 22) == b"".join(chunks)


def test_features_get_smaller():
    content = features().tobytes()
    assert sum(map(len, packed([content], len(content)))) < 0.65 * len(content)


def test_one_byte_more_than_the_limit_is_refused():
    content = b"".join(packed([bytes(LIMIT)], LIMIT))
    assert whole(content) == bytes(LIMIT)
    with pytest.raises(ProtocolError, match=f"holds {LIMIT} bytes, .*; at most {LIMIT - 1} are taken") as raised:
        whole(content, LIMIT - 1)
    assert raised.value.status == 413


def lying(content, size):
    """Return a frame whose header tells another size; it has four bytes for it behind the descriptor and the window."""
    made = bytearray(frame(content))
    assert zstandard.get_frame_parameters(bytes(made)).content_size == len(content)
    single = made[4] & 0x20
    assert made[4] >> 6 == 2, "not four bytes"
    place = 5 if single else 6
    made[place : place + 4] = size.to_bytes(4, "little")
    assert zstandard.get_frame_parameters(bytes(made)).content_size == size
    return bytes(made)


def test_bombs_and_lies_take_no_memory():
    bomb = frame(bytes(256 * LIMIT))
    assert len(bomb) < 32 * 1024
    plain = features(100_000).tobytes()
    more, less = lying(plain, 900_000), lying(plain, 300_000)
    enormous = lying(plain, 0xFFFFFFF0)
    small = frame(b"x" * 10)
    # A frame of 10 bytes that says it holds the most that is taken.
    claim = b"\x28\xb5\x2f\xfd\xa0" + (1 << 19).to_bytes(4, "little") + small[-3:]
    tracemalloc.start()
    try:
        for content, message in [
            (bomb, "at most"),
            (enormous, "at most"),
            (claim, "bytes never hold 524288"),
            (less, "cannot be decompressed"),
            (more, "cannot be decompressed"),
        ]:
            with pytest.raises(ProtocolError, match=message):
                whole(content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1.1 * LIMIT


def test_a_frame_that_does_not_say_its_size_is_refused():
    with pytest.raises(ProtocolError, match="does not say how many bytes it holds"):
        whole(frame(b"abc" * 1000, write_content_size=False))


def test_every_truncation_is_refused():
    content = frame(features(500).tobytes(), write_checksum=True)
    for end in [*range(40), *range(40, len(content) - 40, 37), *range(len(content) - 40, len(content))]:
        with pytest.raises(ProtocolError) as raised:
            whole(content[:end])
        assert raised.value.status == 400


SKIPPED = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not one frame"),
        (b"hello, world", "not one frame"),
        (b"\x1f\x8b\x08" + bytes(20), "not one frame"),
        (SKIPPED, "not one frame"),
        (SKIPPED + frame(b"abc" * 100), "not one frame"),
        (frame(b"abc" * 100) + b"\0", "unused data"),
        (frame(b"abc" * 100) + SKIPPED, "unused data"),
        (frame(b"abc" * 100) * 2, "unused data"),
        (frame(b"abc" * 100) + frame(bytes(1 << 24)), "unused data"),
        (b"\x28\xb5\x2f\xfd", "cannot be decompressed"),
    ],
)
def test_what_is_not_one_frame_is_refused(content, message):
    with pytest.raises(ProtocolError, match=message) as raised:
        whole(content)
    assert raised.value.status == 400


def test_a_dictionary_or_a_large_window_is_refused():
    words = zstandard.ZstdCompressionDict(b"some words that come again and again " * 100)
    with pytest.raises(ProtocolError):
        whole(zstandard.ZstdCompressor(dict_data=words, level=1).compress(b"some words that come again" * 20))
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=True)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj(size=LARGEST_BYTES)
    content = packer.compress(bytes(LARGEST_BYTES)) + packer.flush()
    # Whole frames are unpacked without a window; a part of one would need it.
    with pytest.raises(ProtocolError, match="requires too much memory"):
        whole(content[:-5], LARGEST_BYTES)


def test_damaged_frames_are_whole_or_refused_and_nothing_else():
    generator = np.random.default_rng(11)
    plain = features(3000, 1).tobytes()
    content = b"".join(packed([plain], len(plain)))
    statuses = []
    for _ in range(scaled(3000, 200_000)):
        try:
            found = whole(damaged(content, generator))
        except ProtocolError as error:
            statuses.append(error.status)
        else:
            # The checksum is over what came out.
            assert found == plain
    assert set(statuses) <= {400, 413}
    assert len(statuses) > 0.9 * scaled(3000, 200_000)


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", False),
        ("identity", False),
        ("*", False),
        ("zstd", True),
        ("gzip, ZSTD;q=0.5", True),
        ("gzip,zstd ; q=1", True),
        ("zstd;q=0", False),
        ("zstd; q=0.000", False),
        ("zstdx", False),
        (";;,,q=0;zstd", False),
    ],
)
def test_what_a_header_accepts(header, accepted):
    assert accepts(header) is accepted


def test_times_come_and_go_by_a_header():
    header = timing_header(decompress_s=0.001234, compress_s=0.5)["Server-Timing"]
    assert header == "decompress;dur=1.234, compress;dur=500.000"
    assert read_timing(header) == pytest.approx((0.001234, 0.5))
    assert timing_header(decompress_s=None, compress_s=None) == {}
    for text in ("", "cache;desc=hit, db;dur=3", "compress;dur=nan, decompress;dur=-1", "compress;dur=1e9"):
        assert read_timing(text) == (None, None)


def test_whether_it_is_installed(monkeypatch):
    assert is_installed()
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    assert not is_installed()
