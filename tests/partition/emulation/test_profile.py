"""Rates over time: transfers against an independent integration in fractions, and what is refused."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition.emulation.profile import RateProfile
from partition.errors import InputError
from tests.scale import scaled


def naive_transfer_s(profile, size_bytes, start_s):
    """Walk from segment to segment, in exact arithmetic."""
    starts = [Fraction(one) for one in profile.starts_s]
    ends = [*starts[1:], None if profile.period_s is None else Fraction(profile.period_s)]
    left = Fraction(8 * size_bytes)
    now = Fraction(start_s)
    origin = Fraction(0)
    if profile.period_s is not None:
        origin = now // ends[-1] * ends[-1]
    number = max(k for k, start in enumerate(starts) if origin + start <= now)
    while left > 0:
        rate = Fraction(profile.bits_per_s[number])
        end = None if ends[number] is None else origin + ends[number]
        if rate > 0 and (end is None or now + left / rate <= end):
            now += left / rate
            break
        left -= rate * (end - now)
        now = end
        number += 1
        if number == len(starts):
            number, origin = 0, end
    return float(now - Fraction(start_s))


@st.composite
def profiles(draw):
    # Eighths and whole rates: segments are exact, so that a transfer may end with one.
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=8))
    rates = [draw(st.integers(0, 5)) * 1000.0 for _ in lengths]
    starts = tuple(sum(lengths[:k]) / 8 for k in range(len(lengths)))
    loops = draw(st.booleans())
    if not any(rates) or (not loops and rates[-1] == 0):
        rates[-1] = 1000.0
    return RateProfile(starts, tuple(rates), sum(lengths) / 8 if loops else None)


@settings(max_examples=scaled(200, 5000), deadline=None, derandomize=True)
@given(profiles(), st.integers(0, 20000), st.integers(0, 2000))
def test_transfers_agree_with_exact_integration(profile, size_bytes, start_eighths):
    start_s = start_eighths / 16
    expected = naive_transfer_s(profile, size_bytes, start_s)
    assert profile.transfer_s(size_bytes, start_s) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=scaled(100, 2000), deadline=None, derandomize=True)
@given(profiles(), st.integers(1, 40))
def test_averaging_keeps_the_bits(profile, length_eighths):
    coarse = profile.averaged(length_eighths / 8)
    assert coarse.period_s == profile.period_s
    end_s = profile.period_s or profile.starts_s[-1]
    for start_s in coarse.starts_s[: None if profile.period_s else -1]:
        stop_s = min(start_s + length_eighths / 8, end_s)
        expected = profile.mean_bits_per_s(start_s, stop_s)
        assert coarse.mean_bits_per_s(start_s, stop_s) == pytest.approx(expected)
    assert coarse.rate_at(10 * end_s) >= 0
    assert profile.averaged(1e9).mean_bits_per_s() == pytest.approx(profile.mean_bits_per_s()) or end_s == 0


def test_a_constant_rate():
    profile = RateProfile.constant("8.8Mbps")
    assert profile.rate_at(0) == profile.rate_at(1e9) == 8.8e6
    assert profile.transfer_s(1_000_000, 12345.6789) == 8e6 / 8.8e6
    assert profile.transfer_s(0, 7) == 0
    assert profile.mean_bits_per_s() == profile.mean_bits_per_s(3, 4) == pytest.approx(8.8e6)
    assert profile.averaged(0.1) == profile


def test_an_outage_is_waited_for():
    profile = RateProfile.stepped([(0, "8Mbps"), (1, 0), (3, "8Mbps")], period_s=4)
    assert profile.rate_at(2) == 0
    assert profile.transfer_s(1, 2) == pytest.approx(1 + 1e-6)
    assert profile.transfer_s(1_000_000, 0) == 1.0
    assert profile.transfer_s(1_000_001, 0) == pytest.approx(3 + 1e-6)
    assert profile.transfer_s(20_000_000, 0) == pytest.approx(40)
    assert profile.mean_bits_per_s() == pytest.approx(4e6)


def test_the_last_rate_holds():
    profile = RateProfile.stepped([(0, "1Mbps"), (10, "2Mbps")])
    assert profile.rate_at(1e6) == 2e6
    assert profile.transfer_s(250_000, 9) == pytest.approx(1.5)
    assert profile.mean_bits_per_s() == pytest.approx(1e6)
    assert profile.mean_bits_per_s(9, 11) == pytest.approx(1.5e6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), ()), "0 starts and 0 rates"),
        (((0.0,), (1.0, 2.0)), "1 starts and 2 rates"),
        (((1.0,), (1.0,)), "the first start is 1.0 s"),
        (((0.0, 2.0, 2.0), (1.0, 1.0, 1.0)), "start 2 is 2.0 s, after start 1 at 2.0 s"),
        (((0.0, math.nan), (1.0, 1.0)), "times have to rise"),
        (((0.0, math.inf), (1.0, 1.0)), "times have to rise"),
        (((0.0, 2.0), (1.0, 1.0), 2.0), "period is 2.0 s"),
        (((0.0, 2.0), (1.0, 1.0), math.inf), "period is inf s"),
        (((0.0,), (-1.0,)), "rate 0 is -1.0 bit/s"),
        (((0.0,), (math.inf,)), "rate 0 is inf bit/s"),
        (((0.0, 1.0), (1.0, 0.0)), "the last rate, which holds for ever, is 0"),
        (((0.0, 1.0), (0.0, 0.0), 2.0), "every rate is 0"),
    ],
)
def test_bad_profiles(arguments, message):
    with pytest.raises(InputError, match=message):
        RateProfile(*arguments)


def test_bad_questions():
    profile = RateProfile.constant(1e6)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError):
            profile.rate_at(wrong)
        with pytest.raises(InputError):
            profile.transfer_s(1, wrong)
        with pytest.raises(InputError):
            profile.transfer_s(wrong, 0)
        with pytest.raises(InputError):
            profile.averaged(wrong)
        with pytest.raises(InputError):
            profile.mean_bits_per_s(wrong, 5.0)
    with pytest.raises(InputError, match="two times that rise"):
        profile.mean_bits_per_s(2, 2)
    with pytest.raises(InputError, match="at most 1000000"):
        RateProfile((0.0,), (1.0,), 1e6).averaged(1e-3)
