"""Links: presets, what is assumed and said, and the round trip through JSON."""

import copy
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition.errors import InputError
from partition.links import Link, link_presets

rates = st.floats(min_value=1.0, max_value=1e12)
links = st.builds(
    Link,
    rates,
    rates,
    st.floats(min_value=0, max_value=10),
    st.sampled_from(["4g", "custom"]),
    st.just(("rtt 1 s (x)",)),
)


@pytest.mark.parametrize(
    ("spelling", "name", "up", "down", "rtt_s"),
    [
        ("3g", "3g", 1.1e6, 4.6e6, 0.2),
        ("3G", "3g", 1.1e6, 4.6e6, 0.2),
        ("4G", "4g", 8.8e6, 29.1e6, 0.06),
        ("wifi", "wifi", 18.88e6, 54.97e6, 0.02),
        ("Wi-Fi", "wifi", 18.88e6, 54.97e6, 0.02),
        (" WiFi ", "wifi", 18.88e6, 54.97e6, 0.02),
    ],
)
def test_presets(spelling, name, up, down, rtt_s):
    link = Link.parse(spelling)
    assert (link.name, link.uplink_bits_per_s, link.downlink_bits_per_s, link.rtt_s) == (name, up, down, rtt_s)
    assert link.assumptions == (f"rtt {rtt_s * 1e3:.0f} ms: our assumption for the preset {name}",)


def test_names_of_the_presets():
    assert link_presets() == ("3g", "4g", "wifi")


@pytest.mark.parametrize("bandwidth", ["8.8Mbps", 8.8e6, 8_800_000])
def test_bandwidth_alone_says_what_it_assumes(bandwidth):
    link = Link.parse(bandwidth)
    assert link == Link(8.8e6, 8.8e6, 0.04, "custom", ("downlink = uplink (not given)", "rtt 40 ms (not given)"))


def test_what_is_given_is_not_assumed():
    assert Link.parse("1Mbps", downlink="2Mbps").assumptions == ("rtt 40 ms (not given)",)
    assert Link.parse("1Mbps", rtt="5ms").assumptions == ("downlink = uplink (not given)",)
    assert Link.parse("1Mbps", downlink=2e6, rtt=0.005) == Link(1e6, 2e6, 0.005)
    assert Link.parse("4g", rtt=0) == Link(8.8e6, 29.1e6, 0.0, "4g")
    assert Link.parse("4g", downlink="1Mbps").assumptions == Link.parse("4g").assumptions


def test_a_link_passes_through_and_is_overridden():
    link = Link.parse("1Mbps")
    assert Link.parse(link) is link
    changed = Link.parse(link, downlink="9Mbps", rtt="1ms")
    assert changed == Link(1e6, 9e6, 0.001)
    assert link.rtt_s == 0.04


def test_per_byte_and_delays():
    link = Link(8e6, 16e6, 0.06)
    assert link.upload_s_per_byte == 1e-6
    assert link.download_s_per_byte == 0.5e-6
    assert link.uplink_delay_s == link.downlink_delay_s == 0.03


def test_text_and_repr():
    link = Link.parse("4g")
    assert str(link) == "4g: 8.8 Mbit/s up, 29.1 Mbit/s down, rtt 60 ms"
    assert repr(link).startswith("Link(uplink_bits_per_s=8800000.0")
    assert "\n" not in repr(link)


def test_a_link_is_frozen_hashable_and_can_travel():
    link = Link.parse("wifi")
    with pytest.raises(dataclasses.FrozenInstanceError):
        link.rtt_s = 1.0
    assert hash(link) == hash(Link.parse("wifi"))
    assert copy.deepcopy(link) == link


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"bandwidth": "lte"}, ["'lte'", "3g, 4g, wifi"]),
        ({"bandwidth": "5g"}, ["'5g' is no preset; the presets are 3g, 4g, wifi;"]),
        ({"bandwidth": "8.8mbps"}, ["'8.8mbps'", "'8.8Mbps'"]),
        ({"bandwidth": 0}, ["bandwidth 0"]),
        ({"bandwidth": None}, ["bandwidth is None"]),
        ({"bandwidth": "4g", "downlink": "29"}, ["downlink '29'", "has no unit"]),
        ({"bandwidth": "4g", "downlink": -1}, ["downlink -1"]),
        ({"bandwidth": "4g", "rtt": "60"}, ["rtt '60'", "has no unit"]),
        ({"bandwidth": "4g", "rtt": -0.1}, ["rtt -0.1"]),
    ],
)
def test_parse_refuses(arguments, named):
    with pytest.raises(InputError) as caught:
        Link.parse(**arguments)
    for one in named:
        assert one in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"uplink_bits_per_s": 0}, "uplink_bits_per_s"),
        ({"uplink_bits_per_s": "1Mbps"}, "uplink_bits_per_s"),
        ({"uplink_bits_per_s": 5e-324}, "uplink_bits_per_s"),
        ({"downlink_bits_per_s": math.nan}, "downlink_bits_per_s"),
        ({"downlink_bits_per_s": True}, "downlink_bits_per_s"),
        ({"rtt_s": -1}, "rtt_s"),
        ({"rtt_s": "4ms"}, "rtt_s"),
        ({"rtt_s": math.inf}, "rtt_s"),
        ({"name": " "}, "name"),
        ({"assumptions": ["x"]}, "assumptions"),
    ],
)
def test_the_constructor_refuses(changes, named):
    with pytest.raises(InputError, match=f"link: {named}"):
        Link(**({"uplink_bits_per_s": 1e6, "downlink_bits_per_s": 1e6, "rtt_s": 0.1} | changes))


@given(links)
def test_json_round_trip(link):
    assert Link.from_json(link.to_json()) == link


@pytest.mark.parametrize("field", ["name", "uplink_bits_per_s", "downlink_bits_per_s", "rtt_s", "assumptions"])
def test_json_with_a_field_missing_or_wrong(field):
    obj = Link.parse("4g").to_json()
    with pytest.raises(InputError, match=f"plan.json: the field '{field}'"):
        Link.from_json(obj | {field: {}}, "plan.json")
    with pytest.raises(InputError, match=f"plan.json: the field '{field}' is missing"):
        Link.from_json({name: value for name, value in obj.items() if name != field}, "plan.json")
    with pytest.raises(InputError, match="unknown field 'colour'"):
        Link.from_json(obj | {"colour": 1}, "plan.json")
    with pytest.raises(InputError, match="link: the content is a JSON list"):
        Link.from_json([])
