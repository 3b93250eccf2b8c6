"""Recorded links: both formats read, and each wrong line refused with its number."""

import random

import pytest

from partition.emulation.traces import PACKET_BYTES, read_trace, read_traces
from partition.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(text, name="trace"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_packets(write):
    profile = read_trace(write("2\n2\n5\n10\n"))
    assert profile.period_s == 0.010
    assert profile.rate_at(0.0) == profile.rate_at(0.010) == 12e6  # what is due at 10 ms is due at 0 of the next round
    assert profile.rate_at(0.0025) == 24e6
    assert profile.rate_at(0.0035) == 0
    assert profile.mean_bits_per_s() == pytest.approx(4 * PACKET_BYTES * 8 / 0.010)


def test_each_packet_leaves_within_its_millisecond(write):
    """Replayed packet by packet, every packet of a random trace ends its transfer with its own millisecond at most."""
    rng = random.Random(5)
    times = [*sorted(rng.randrange(1, 400) for _ in range(200)), 400]
    profile = read_trace(write("".join(f"{time}\n" for time in times)), "mahimahi")
    now_s = 1e-3 * times[0]
    for time in times[:-1]:
        now_s += profile.transfer_s(PACKET_BYTES, now_s)
        assert time / 1000 - 1e-9 < now_s <= (time + 1) / 1000 + 1e-9


def test_zero_times_are_legal(write):
    profile = read_trace(write("0\n0\n1\n1\n"))
    assert profile.rate_at(0) == 48e6


@pytest.mark.parametrize(
    "text",
    [
        "0 8.8\n10 1.5\n20 0\n",
        "0,8.8\n10,1.5\n20,0\n",
        "time_s,uplink_mbit_s\n0,8.8\n10,1.5\n20,0\n",
        "seconds Mbit/s\n0\t8.8\n10\t1.5\n\n20\t0",
        '"time (s)";"rate (Mbps)"\r\n0;8.8\r\n10;1.5\r\n20;0\r\n',
        "\ufeff# a walk\nt, Mbps\n100, 8.8\n110.0, 1.5\n1.2e2, .0\n",
    ],
)
def test_rows(write, text):
    profile = read_trace(write(text))
    assert profile.starts_s == (0, 10, 20)
    assert profile.bits_per_s == pytest.approx((8.8e6, 1.5e6, 0))
    assert profile.period_s == 30
    with pytest.raises(InputError, match="the last rate, which holds for ever, is 0"):
        read_trace(write(text), loop=False)


def test_rows_that_hold(write):
    profile = read_trace(write("0 8\n1 2\n"), "rows", loop=False)
    assert profile.period_s is None
    assert profile.rate_at(100) == 2e6
    assert read_trace(write("5 3\n")).transfer_s(3_000_000, 2) == 8


@pytest.mark.parametrize(
    ("text", "format", "message"),
    [
        ("", "auto", "holds no line"),
        ("# nothing\n\n", "auto", "holds no line"),
        ("1\n2.5\n", "auto", "line 2: got '2.5', expected one whole number of milliseconds"),
        ("1\n-2\n", "auto", "line 2: got '-2'"),
        ("1\n\n5\n4\n", "auto", "line 4: got '4', expected 5 or more"),
        ("1\n2 3\n", "auto", "line 2: got '2 3', expected one whole number"),
        ("0\n0\n", "auto", "line 2: got '0', expected a last time above 0"),
        ("1" * 100 + "\n", "auto", "line 1: got '1{40}[.]{3}'"),
        ("0 1\n1\n", "auto", "line 2: got '1', expected two numbers"),
        ("0 1\n1 x\n", "auto", "line 2: got '1 x', expected two numbers"),
        ("0 1\n1 2 3\n", "auto", "line 2: got '1 2 3', expected two numbers"),
        ("0 1\n0 2\n", "auto", "line 2: got '0 2', expected a time after 0.0 s"),
        ("0 1\n1 -2\n", "auto", "line 2: got '1 -2', expected a finite time, and a finite rate of 0 or more"),
        ("0 1\n1 nan\n", "auto", "line 2: got '1 nan', expected two numbers"),
        ("0 1e999\n", "auto", "line 1: got '0 1e999', expected a finite time"),
        ("time_s kbit/s\n0 1\n", "auto", "line 1: got 'time_s kbit/s', expected two numbers, or a header"),
        ("time_s MB/s\n0 1\n", "auto", "line 1: got 'time_s MB/s'"),
        ("time_ms Mbit/s\n0 1\n", "auto", "line 1: got 'time_ms Mbit/s'"),
        ("seconds Mbit/s\n", "auto", "a header alone"),
        ("0 0\n1 0\n", "auto", "every rate is 0"),
        ("1\n2\n", "rows", "line 1: got '1', expected two numbers"),
        ("1\n2\n", "csv", "format 'csv' does not exist"),
    ],
)
def test_wrong_lines(write, text, format, message):
    with pytest.raises(InputError, match=message):
        read_trace(write(text), format)


def test_what_is_no_text(tmp_path, write):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "binary", tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_trace(path)
    with pytest.raises(InputError, match="always begins anew"):
        read_trace(write("1\n2\n"), loop=False)


def test_a_folder(tmp_path, write):
    write("1\n2\n", "b.up")
    write("1\n1\n2\n", "b.down")
    write("0 1\n1 3\n", "a.csv")
    write("what these are", "README.md")
    write("", ".hidden")
    first, second = read_traces(tmp_path)
    assert (first.name, second.name) == ("a", "b")
    assert first.uplink is first.downlink
    assert second.uplink.mean_bits_per_s() == pytest.approx(12e6)
    assert second.downlink.mean_bits_per_s() == pytest.approx(18e6)
    (tmp_path / "b.down").unlink()
    with pytest.raises(InputError, match=r"has no 'b\.down' beside it"):
        read_traces(tmp_path)


def test_no_folder_of_traces(tmp_path, write):
    with pytest.raises(InputError, match="is not a folder"):
        read_traces(write("1\n"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        read_traces(tmp_path / "empty")
