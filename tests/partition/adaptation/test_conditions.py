"""The range of conditions that a plan adapts to: as a user writes it, in a file, and what is refused."""

import json

import pytest

from partition import InputError
from partition.adaptation.conditions import ConditionRange, Conditions
from partition.files import FieldReader
from partition.links import Link

LINK = Link.parse("8.8Mbps", downlink="29.1Mbps", rtt="60ms")


def test_a_text_is_the_range_of_the_bandwidth():
    found = ConditionRange.parse("1Mbps..50Mbps", LINK)
    assert found.uplink_bits_per_s == (1e6, 50e6)
    assert found.downlink_bits_per_s is None
    assert found.rtt_s == (0.06, 0.06)
    assert found.server_slowdown == (1.0, 1.0)
    assert str(found) == "bandwidth 1 Mbit/s to 50 Mbit/s"


def test_several_ranges_by_name():
    found = ConditionRange.parse(
        {"bandwidth": ("1Mbps", "50Mbps"), "rtt": "5ms..0.2s", "server_slowdown": "1..20", "downlink": "1Mbps..1Gbps"},
        LINK,
    )
    assert found.rtt_s == (0.005, 0.2)
    assert found.server_slowdown == (1.0, 20.0)
    assert found.downlink_bits_per_s == (1e6, 1e9)
    assert found.contains(Conditions(2e6, 5e6, 0.01, server_slowdown=3))
    assert not found.contains(Conditions(2e6, 5e6, 0.01, device_slowdown=1.1))
    assert not found.contains(Conditions(51e6, 5e6, 0.01))
    assert ConditionRange.parse(found, LINK) is found


def test_a_range_survives_its_file():
    for given in ("1Mbps..50Mbps", {"rtt": "0ms..100ms", "downlink": "1Mbps..1Gbps", "device_slowdown": "0.5..2"}):
        found = ConditionRange.parse(given, LINK)
        content = json.loads(json.dumps(found.to_json()))
        assert ConditionRange.from_json(FieldReader(content, "test")) == found


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("1Mbps", "give its lowest and highest value"),
        ("50Mbps..1Mbps", "reversed"),
        ("1Mbps..5Mbps", "ranges from 1 Mbit/s to 5 Mbit/s, and the plan is made for 8.8 Mbit/s"),
        ("1..50", "bandwidth"),
        ({}, "adapt is {}"),
        (7, "adapt is 7"),
        ({"speed": "1..2"}, "key 'speed'; the legal ones are 'bandwidth'"),
        ({"rtt": "1ms..2ms"}, "the rtt ranges from"),
        ({"server_slowdown": "2..3"}, "the plan is made for 1"),
        ({"server_slowdown": "0..3"}, "how many times as long"),
        ({"server_slowdown": "a..3"}, "how many times as long"),
        ({"rtt": ("1ms", "2ms", "3ms")}, "lowest and highest"),
    ],
)
def test_what_is_refused(given, problem):
    with pytest.raises(InputError, match=problem):
        ConditionRange.parse(given, LINK)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("rtt_s", None, "lowest and highest"),
        ("rtt_s", {"lowest": 1, "highest": 0.5}, "lowest at most highest"),
        ("uplink_bits_per_s", {"lowest": 0, "highest": 5}, "above 0"),
        ("uplink_bits_per_s", {"lowest": 1, "highest": 5, "middle": 2}, "unknown field"),
        ("speed", {"lowest": 1, "highest": 5}, "unknown field"),
    ],
)
def test_hand_edited_files_are_refused(field, value, problem):
    content = ConditionRange.parse("1Mbps..50Mbps", LINK).to_json() | {field: value}
    with pytest.raises(InputError, match=problem):
        ConditionRange.from_json(FieldReader(content, "test"))


def test_conditions_print_what_matters():
    assert str(Conditions.of_link(LINK)) == "8.8 Mbit/s up, 29.1 Mbit/s down, rtt 60 ms"
    assert str(Conditions(1e6, 1e6, 0.01, 1.0, 2.5)).endswith("server 2.5 times slower than planned")
