"""Texts in figures keep apart: names in boxes end before the times, and no text leaves the picture."""

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from graph_io import light_model
from partition import partition
from partition.exits.figure import tradeoff_figure
from partition.report.page.evidence import Study
from partition.report.page.figure import NARROW, WIDE
from partition.report.page.figures import KINDS, figure_of
from partition.report.page.frame import page
from partition.report.page.svg import fitted, text_width
from tests.partition.costs import machine
from tests.partition.exits.families import branchy
from tests.partition.exits.policies import deciding_policy

SVG = "{http://www.w3.org/2000/svg}"
# Advance widths of DejaVu Sans and DejaVu Sans Bold at 1,000 units, as its files say.
REGULAR = {"conv_11": 4160, "9.68 ms": 4040, "Conv+BatchNormalization": 13215, "WWWW": 3955, "illj": 1111}
BOLD = {"conv_11": 4535, "9.68 ms": 4453, "Conv+BatchNormalization": 14738, "WWWW": 4412, "illj": 1371}


@pytest.fixture(scope="module")
def study():
    return Study(partition(light_model("squeezenet"), "8.8Mbps", device=machine(memory_bytes_per_s=1e9)))


@pytest.mark.parametrize("bold", [False, True])
def test_widths_are_at_least_those_of_a_wide_font(bold):
    for text, units in (BOLD if bold else REGULAR).items():
        width = text_width(text, 10, bold=bold)
        assert width >= units / 100
        assert width <= 1.2 * units / 100
    assert text_width("漢字", 10) == 20


@pytest.mark.parametrize("width", [20, 64, 120, 300])
def test_what_is_fitted_fits(width):
    for text in ("m" * 90, "Conv+BatchNormalization+Relu conv_11", "il" * 60, "漢" * 40):
        short = fitted(text, width, 11.5)
        assert text_width(short, 11.5) <= width or len(short) <= 2
        assert short == text or "…" in short
    assert fitted("il", width, 11.5) == "il"


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_texts_keep_apart_and_inside(study, width):
    found = 0
    for kind in KINDS:
        figure = figure_of(study, kind)
        if not hasattr(figure, "paint"):
            continue
        rows = {}
        for text in ElementTree.fromstring(figure.svg(width, identity=kind)).iter(f"{SVG}text"):
            said = "".join([text.text or "", *(one.tail or "" for one in text)])
            wide = text_width(said, float(text.get("font-size")), bold=text.get("class") == "bold")
            share = {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
            left = float(text.get("x")) - share * wide
            assert left >= -0.5, said
            assert left + wide <= width + 0.5, said
            rows.setdefault(float(text.get("y")), []).append((left, left + wide, said))
        for row in rows.values():
            row.sort()
            found += len(row) > 1
            for (_, end, said), (start, _, other) in pairwise(row):
                assert start - end >= 7.9, (said, other)
    assert found > 20


def test_code_in_sentences():
    text = page("`name`", "Run `a <b>` and `c`.", [("what", "one ` alone")], [], ["use `--dim`"], "made by `us`")
    assert '<p class="sentence">Run <code>a &lt;b&gt;</code> and <code>c</code>.</p>' in text
    assert "<dd>one ` alone</dd>" in text
    assert "<li>use <code>--dim</code></li>" in text
    assert "made by <code>us</code>" in text
    assert "<h1>`name`</h1>" in text  # a name is no sentence


def test_a_policy_without_rivals_is_said_in_words():
    policy = deciding_policy(branchy())
    assert "expected latency, ms" in policy.plot()
    own = next(
        one
        for one in policy.tradeoff
        if (one.expected_latency_s, one.accuracy) == (policy.expected_latency_s, policy.accuracy)
    )
    alone = tradeoff_figure(replace(policy, tradeoff=(own,))).svg(NARROW, identity="x")
    assert "none is faster or more accurate" in alone
    assert "expected latency, ms" not in alone
