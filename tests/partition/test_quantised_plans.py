"""Plans of quantised models: what crosses is integers, and the parts agree with the whole."""

import pytest

from partition import partition
from tests.graph_io.test_quantised_cuts import residual

# Costs at which the best cut lies at the input, inside and at the output.
LINKS = ("3g", "4g", "wifi", "100Mbps", "10Gbps")


@pytest.mark.parametrize("link", LINKS)
def test_integers_cross(link):
    plan = partition(residual(), link, rtt="0ms")
    for message in plan.messages:
        assert set(message.tensors) <= {"x", "q_x", "q_c1", "q_c2", "q_sum", "q_h", "y"}
    assert plan.verify().ok


@pytest.mark.parametrize(("cut", "size_bytes"), [(["q_x"], 192), (["q_c1", "q_c2"], 1024), (["q_sum"], 512)])
def test_a_cut_of_integers(cut, size_bytes):
    plan = partition(residual(), "wifi", cut=cut)
    assert plan.messages[0].size_bytes == size_bytes
    assert plan.verify().ok
