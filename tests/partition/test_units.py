"""Bandwidths, durations and sizes: what is read, what is refused and how the refusal says so."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition.errors import InputError
from partition.units import (
    BANDWIDTH_UNITS,
    DURATION_UNITS,
    SIZE_UNITS,
    format_bandwidth,
    format_duration,
    parse_bandwidth,
    parse_duration,
    parse_size,
)


def outcome(parse, text):
    """Whether a text is read as a number of at least 0, or refused by a message that quotes it."""
    try:
        return parse(text) >= 0
    except InputError as error:
        return repr(text) in str(error)


@pytest.mark.parametrize(
    ("value", "bits_per_s"),
    [
        ("8.8Mbps", 8.8e6),
        ("1.1 Mbit/s", 1.1e6),
        ("2MB/s", 16e6),
        ("1Gbps", 1e9),
        ("100kbps", 1e5),
        ("500 kbit/s", 5e5),
        ("2MiB/s", 2 * 2**20 * 8),
        ("1KiB/s", 8192),
        ("1GiB/s", 2**30 * 8),
        ("5e6 bit/s", 5e6),
        ("100bps", 100),
        ("10 B/s", 80),
        (" 3 kB/s ", 24e3),
        ("1_000kbps", 1e6),
        (".5Gbit/s", 5e8),
        (5, 5.0),
        (8.8e6, 8.8e6),
        (np.float64(3.0), 3.0),
        (np.int64(3), 3.0),
    ],
)
def test_bandwidth(value, bits_per_s):
    got = parse_bandwidth(value)
    assert type(got) is float
    assert got == bits_per_s


def test_legal_units_of_a_bandwidth():
    bits = {f"{prefix}{unit}" for prefix in ("", "k", "M", "G") for unit in ("bps", "bit/s")}
    octets = {f"{prefix}B/s" for prefix in ("", "k", "M", "G", "Ki", "Mi", "Gi")}
    assert set(BANDWIDTH_UNITS) == bits | octets


@pytest.mark.parametrize(
    ("value", "suggested"),
    [
        ("8.8mbps", ["'8.8Mbps' (megabits)", "'8.8MB/s' (megabytes)"]),
        ("8.8 mb/s", ["'8.8Mbps'", "'8.8MB/s'"]),
        ("8.8MB", ["'8.8Mbps'", "'8.8MB/s'"]),
        ("8.8Mb", ["'8.8Mbps'", "'8.8MB/s'"]),
        ("8.8Mb/s", ["'8.8Mbps'", "'8.8MB/s'"]),
        ("8.8MBps", ["'8.8Mbps'", "'8.8MB/s'"]),
        ("100KBPS", ["'100kbps' (kilobits)", "'100kB/s' (kilobytes)"]),
        ("1gbps", ["'1Gbps'", "'1GB/s'"]),
        ("8mbit/s", ["'8Mbps'"]),
        ("8 Mbytes/s", ["'8MB/s'"]),
        ("2mib/s", ["'2MiB/s'"]),
        ("2Mibps", ["'2MiB/s'"]),
        ("9Bps", ["'9bps' (bits)", "'9B/s' (bytes)"]),
    ],
)
def test_ambiguous_unit_is_refused_with_spellings_that_work(value, suggested):
    with pytest.raises(InputError, match="ambiguous unit") as caught:
        parse_bandwidth(value)
    message = str(caught.value)
    assert repr(value) in message
    for one in suggested:
        assert one in message
        assert parse_bandwidth(one.split("'")[1]) > 0


@pytest.mark.parametrize("value", ["8.8", "8_800_000", "5e6"])
def test_bandwidth_text_without_unit_is_refused(value):
    with pytest.raises(InputError, match="has no unit") as caught:
        parse_bandwidth(value, what="downlink")
    assert f"downlink {value!r}" in str(caught.value)
    assert f"'{value}Mbps'" in str(caught.value)


@pytest.mark.parametrize("value", ["8 parsecs", "3 W", "5g", "1 Tbps", "4 Mbps extra", "2 kbps/s", "1e9999Mbps"])
def test_bandwidth_of_unknown_unit_is_refused(value):
    with pytest.raises(InputError, match="unknown unit") as caught:
        parse_bandwidth(value)
    assert repr(value) in str(caught.value)
    assert "Mbit/s" in str(caught.value)


@pytest.mark.parametrize("value", ["", " ", "fast", "nanMbps", "inf", "infMbps", "1,5Mbps", "1__0Mbps", "٣Mbps"])
def test_bandwidth_that_is_no_number_is_refused(value):
    with pytest.raises(InputError, match="is not a number with a unit") as caught:
        parse_bandwidth(value)
    assert "'8.8Mbps'" in str(caught.value)


@pytest.mark.parametrize(
    "value", [0, 0.0, -1, -1e6, math.nan, math.inf, -math.inf, 10**400, "0Mbps", "-2MB/s", "1e999Gbps", "1e-999bps"]
)
def test_bandwidth_out_of_range_is_refused(value):
    with pytest.raises(InputError, match="not a finite rate above 0"):
        parse_bandwidth(value)


@pytest.mark.parametrize("parse", [parse_bandwidth, parse_duration])
@pytest.mark.parametrize("value", [True, False, None, [1], b"8Mbps", 1j])
def test_other_types_are_refused(parse, value):
    with pytest.raises(InputError, match=type(value).__name__) as caught:
        parse(value, what="the thing")
    assert "the thing" in str(caught.value)


@given(st.integers(1, 10**9), st.sampled_from(sorted(BANDWIDTH_UNITS)), st.sampled_from(["", " ", "  "]))
def test_bandwidth_is_number_times_unit(number, unit, space):
    assert parse_bandwidth(f"{number}{space}{unit}") == float(number * BANDWIDTH_UNITS[unit])


@given(st.text(max_size=20) | st.from_regex(r"[0-9.]{1,3} ?[A-Za-z/]{1,8}", fullmatch=True))
def test_any_text_is_read_or_refused_by_name(text):
    for parse in (parse_bandwidth, parse_duration, parse_size):
        assert outcome(parse, text)


@given(st.floats(min_value=1e-3, max_value=1e15))
def test_written_bandwidth_reads_back(bits_per_s):
    assert parse_bandwidth(format_bandwidth(bits_per_s)) == pytest.approx(bits_per_s, rel=1e-3)


@given(st.floats(min_value=1e-9, max_value=1e6))
def test_written_duration_reads_back(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("40ms", 0.04),
        ("0.04s", 0.04),
        ("200 us", 2e-4),
        ("200µs", 2e-4),
        ("200μs", 2e-4),
        ("0ms", 0.0),
        (0, 0.0),
        (1.5, 1.5),
    ],
)
def test_duration(value, seconds):
    got = parse_duration(value)
    assert type(got) is float
    assert got == seconds


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("40", "has no unit"),
        ("40 MS", "unknown unit 'MS'"),
        ("2 min", "unknown unit 'min'"),
        ("soon", "is not a number with a unit"),
        ("-1ms", "is not a finite time"),
        (-0.5, "is not a finite time"),
        (math.nan, "is not a finite time"),
        (math.inf, "is not a finite time"),
    ],
)
def test_duration_refused(value, problem):
    with pytest.raises(InputError, match=problem) as caught:
        parse_duration(value, what="rtt")
    assert f"rtt {value!r}" in str(caught.value)
    assert "ms" in str(caught.value)


@given(st.integers(0, 10**6), st.sampled_from(sorted(DURATION_UNITS)))
def test_duration_is_number_times_unit(number, unit):
    assert parse_duration(f"{number}{unit}") == float(number * DURATION_UNITS[unit])


@pytest.mark.parametrize(
    ("value", "n_bytes"),
    [
        ("152kB", 152_000),
        ("152_000", 152_000),
        (152_000, 152_000),
        ("1MiB", 2**20),
        ("0.5 kB", 500),
        ("7B", 7),
        (0, 0),
        (np.int32(7), 7),
    ],
)
def test_size(value, n_bytes):
    got = parse_size(value)
    assert type(got) is int
    assert got == n_bytes


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("152KB", "did you mean '152kB' .powers of 1000. or '152KiB' .powers of 1024."),
        ("2mb", "did you mean '2MB' .* or '2MiB'"),
        ("2M", "did you mean '2MB' .* or '2MiB'"),
        ("2mib", "did you mean '2MiB'"),
        ("3 Mbit", "unknown unit 'Mbit'"),
        ("1.5B", "not a whole number of bytes"),
        ("-1kB", "not a whole number of bytes"),
        (-1, "not a whole number of bytes"),
        (1.0, "not a whole number of bytes"),
        (True, "not a whole number of bytes"),
        (None, "not a whole number of bytes"),
        ("nan", "is not a number with a unit"),
    ],
)
def test_size_refused(value, problem):
    with pytest.raises(InputError, match=problem) as caught:
        parse_size(value, what="input_bytes['data']")
    assert f"input_bytes['data'] {value!r}" in str(caught.value)


@given(st.integers(0, 10**12), st.sampled_from(sorted(SIZE_UNITS)))
def test_size_is_number_times_unit(number, unit):
    assert parse_size(f"{number}{unit}") == number * SIZE_UNITS[unit]


def test_decimal_fractions_are_rounded_once():
    assert parse_bandwidth("29.1Mbps") == 29_100_000
    assert parse_duration("0.1ms") == 1e-4
    assert parse_size("0.001kB") == 1


@pytest.mark.parametrize(
    ("bits_per_s", "text"),
    [(8.8e6, "8.8 Mbit/s"), (54.97e6, "54.97 Mbit/s"), (1e9, "1 Gbit/s"), (5e3, "5 kbit/s"), (12, "12 bit/s")],
)
def test_format_bandwidth(bits_per_s, text):
    assert format_bandwidth(bits_per_s) == text


def test_format_duration():
    assert [format_duration(s) for s in (0.0, 2e-6, 0.04, 3.0)] == ["0 ms", "2 us", "40 ms", "3 s"]
