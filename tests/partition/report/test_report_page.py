"""The report: one file that loads nothing, says what the plan says, holds no name unescaped, and is well formed."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from onnx import helper

from graph_io import load_graph
from partition import InputError, load_plan, partition
from partition.adaptation.conditions import Conditions
from partition.remote.records import RunRecord, StageRecord, VisitRecord, records_to_json
from partition.report.page.document import report_html, sentence
from partition.report.page.evidence import Study
from partition.report.page.figure import colours
from partition.report.page.figures import KINDS
from partition.report.page.run_file import read_run
from partition.report.page.svg import fitted, safe, shortened
from tests.models import model, relu_chain
from tests.partition.costs import machine

HOSTILE = '</title></desc></svg><script>alert("1")</script><img src=x onerror=alert(2)>&\'"]]>\u202eevil'
VOID = {"meta", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """Checks that elements nest, and gathers what the tests ask for."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.ids, self.texts = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(text):
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def chain_plan(**options):
    options = {"device": machine(), "server": machine(memory_bytes_per_s=1e8, layer_overhead_s=1e-6)} | options
    return partition(relu_chain(6), options.pop("bandwidth", "1Mbps"), **options)


@pytest.fixture(scope="module")
def plan(light_graph):
    return partition(light_graph("squeezenet"), "8.8Mbps", device=machine(memory_bytes_per_s=1e9))


@pytest.fixture(scope="module")
def page_text(plan):
    return report_html(plan)


def test_the_page_loads_and_runs_nothing(page_text):
    page = parsed(page_text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "foreignobject", "image"}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes), tag
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in page_text
    assert "@import" not in page_text
    # Addresses are only those that name the language of SVG.
    assert set(re.findall(r"https?://[^\"'<> ]+", page_text)) == {"http://www.w3.org/2000/svg"}
    (policy,) = [one["content"] for tag, one in page.elements if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_the_policy_allows_the_style_of_the_page(page_text):
    import base64
    import hashlib

    style = page_text.split("<style>")[1].split("</style>")[0]
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{hashed}'" in html.unescape(page_text)


def test_the_page_can_be_read_aloud_and_by_keyboard(page_text):
    page = parsed(page_text)
    assert len(page.ids) == len(set(page.ids))
    pictures = [one for tag, one in page.elements if tag == "svg"]
    assert len(pictures) == 2 * 4  # a wide and a narrow one of each figure but the measured one
    for one in pictures:
        assert one["role"] == "img"
        assert all(name in page.ids for name in one["aria-labelledby"].split())
    links = [one["href"][1:] for tag, one in page.elements if tag == "a"]
    assert links == list(KINDS)
    assert set(links) <= set(page.ids)
    for tag, one in page.elements:
        if one.get("tabindex") == "0":
            assert (tag, one["role"]) == ("div", "region")
            assert one["aria-label"]
    headers = [one.get("scope") for tag, one in page.elements if tag == "th"]
    assert headers
    assert None not in headers
    assert dict(page.elements)["html"]["lang"] == "en"


def test_the_page_says_what_the_plan_says(plan, page_text):
    text = "".join(parsed(page_text).texts)
    assert sentence(plan) in text
    assert f"{plan.model.n_layers:,} layers of squeezenet" in sentence(plan) or "squeezenet" in sentence(plan)
    for name in plan.cut:
        assert name in text
    for assumption in plan.assumptions:
        assert assumption in text


@pytest.mark.parametrize("dark", [False, True])
def test_every_class_has_a_colour(page_text, dark):
    classes = {name for found in re.findall(r'class="([^"]+)"', page_text) for name in found.split()}
    shapes = classes - {"wide", "narrow", "picture", "scroll", "sentence", "assumed", "missing"}
    rules = colours("svg", dark=dark)
    assert shapes
    assert all(f"svg .{name}{{" in rules for name in shapes)


@pytest.mark.parametrize("kind", ["candidates", "bandwidth", "energy", "graph"])
def test_figures_are_well_formed(plan, kind, tmp_path):
    path = tmp_path / "figure.svg"
    text = plan.plot(kind, path)
    assert path.read_text(encoding="utf-8") == text
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root[0].tag.endswith("title")
    assert root[1].tag.endswith("desc")
    assert "prefers-color-scheme: dark" in text
    # Nothing is drawn beside the picture.
    width = float(root.get("width"))
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(rect.get("x")) >= -0.01
        assert float(rect.get("x")) + float(rect.get("width")) <= width + 0.11


def test_the_candidates_hold_the_simple_ones_and_the_plan(plan):
    found = Study(plan).candidates().candidates
    by_role = {one.role: one for one in found if one.role != "cut"}
    for one in plan.estimates[1:]:
        role = {"all on the device": "device", "all on the server": "server"}[one.name]
        assert by_role[role].latency_s == pytest.approx(one.latency_s, rel=1e-12)
    (own,) = [one for one in found if one.chosen]
    assert own.latency_s == pytest.approx(plan.latency_s, rel=1e-12)
    assert min(one.latency_s for one in found) >= plan.latency_s * (1 - 1e-9)


def test_the_candidates_of_a_chain_are_all_its_cuts():
    plan = chain_plan()
    found = Study(plan).candidates().candidates
    inner = [name for name, one in plan.source.graph["tensors"].items() if one.producer and one.consumers]
    assert len(inner) == 5
    for tensor in inner:
        latency_s = chain_plan(cut=[tensor]).latency_s
        assert [one.latency_s for one in found if one.cut == (tensor,)] == [pytest.approx(latency_s, rel=1e-12)]


def test_the_sweep_is_what_planning_at_each_bandwidth_finds(plan, light_graph):
    study = Study(plan)
    for rate in (2e5, 2e6, 3e7, 5e8):
        # The link has one rate for both ways, so the ratio of the ways stays what it is.
        again = partition(light_graph("squeezenet"), rate, device=machine(memory_bytes_per_s=1e9))
        assert float(study.sweep.values_at(8.0 / rate)) == pytest.approx(again.latency_s, rel=1e-9)


def test_energy_needs_the_power_of_the_device():
    plan = chain_plan(device=machine(power=None))
    with pytest.raises(InputError, match="cannot be drawn: the file of the device 'round' has no power"):
        plan.plot("energy")
    assert "has no power figures" in report_html(plan)


def test_a_plan_of_least_energy_lies_on_the_front():
    plan = chain_plan(objective="energy")
    text = report_html(plan)
    assert "J of the device&#x27;s energy" in text
    table = text.split('id="energy"')[1].split("</section>")[0]
    assert "(this plan)" in table


def test_keep_inputs_is_kept_in_every_candidate():
    plan = chain_plan(bandwidth="1Gbps", keep_inputs=True)
    found = Study(plan).candidates().candidates
    assert all(one.role != "server" for one in found)
    assert all(one.n_device_layers for one in found)
    assert "all on the server" not in report_html(plan)


def test_hostile_names_stay_text():
    nodes = [
        helper.make_node("Relu", ["in"], [HOSTILE], name=HOSTILE),
        helper.make_node("MatMul", [HOSTILE, "w"], ["mid"], name="plain"),
        helper.make_node("Relu", ["mid"], [HOSTILE + "2"], name=HOSTILE + "2"),
    ]
    weights = {"w": np.ones((4, 400), np.float32)}
    hostile = model(nodes, {"in": [64, 4]}, [HOSTILE + "2"], weights, name=HOSTILE)
    plan = partition(hostile, "1Gbps", device=machine(), server=machine(memory_bytes_per_s=1e9), cut=[HOSTILE])
    basis = plan.basis
    plan = replace(plan, assumptions=(HOSTILE,), model=replace(plan.model, name=HOSTILE)).with_basis(basis)
    text = report_html(plan)
    page = parsed(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img"}
    assert "\u202e" not in text
    assert "<script" not in text
    assert any('<script>alert("1")</script>' in one for one in page.texts)
    for kind in ("candidates", "bandwidth", "graph"):
        root = ElementTree.fromstring(plan.plot(kind))
        assert not [one for one in root.iter() if one.tag.rpartition("}")[2] in ("script", "img")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("<a&b>\"'", "&lt;a&amp;b&gt;&quot;&#x27;"),
        ("nul\x00 bell\x07 esc\x1b", "nul\ufffd bell\ufffd esc\ufffd"),
        ("turned \u202e back \u2066", "turned \ufffd back \ufffd"),
        ("half \ud800", "half \ufffd"),
        ("tab\tline\n", "tab\tline\n"),
    ],
)
def test_escaping(text, expected):
    assert safe(text) == expected


def test_shortening_keeps_both_ends():
    assert shortened("abcdefghij", 5) == "ab…ij" or len(shortened("abcdefghij", 5)) == 5
    assert shortened("abc", 3) == "abc"
    assert fitted("x" * 100, 60, 12).count("…") == 1


def test_a_saved_plan_shows_what_it_holds(tmp_path):
    plan = chain_plan()
    kept = plan.save(tmp_path / "out")
    assert kept.basis is not None  # in this process the costs are still known
    assert kept.plot("bandwidth") == plan.plot("bandwidth")
    loaded = load_plan(tmp_path / "out")
    text = report_html(loaded)
    assert "A saved plan holds these placements alone" in text
    assert "each box is a part" in text
    with pytest.raises(InputError, match=r"a saved plan does not hold the times of its model's layers"):
        loaded.plot("energy")
    for kind in ("candidates", "bandwidth", "graph"):
        ElementTree.fromstring(loaded.plot(kind))


def test_an_adapting_plan(tmp_path):
    plan = chain_plan(adapt="100kbps..1Gbps")
    text = report_html(plan)
    assert "Adapts to" in text
    (own,) = [one for one in Study(plan).candidates().candidates if one.chosen]
    assert own.latency_s == pytest.approx(plan.latency_s)
    plan.save(tmp_path / "out")
    loaded = load_plan(tmp_path / "out")
    assert len(Study(loaded).candidates().candidates) >= len({choice.latency_s for choice in plan.choices})


def test_several_visits():
    plan = chain_plan(max_server_visits=None)
    assert report_html(plan)


def test_measured_by_verification_and_by_session():
    plan = chain_plan()
    with pytest.raises(InputError, match="no run was given"):
        plan.plot("measured")
    verification = plan.verify(timing=True, threads=1)
    text = report_html(plan, verification)
    stage = verification.stages[0]
    assert f"stage {stage.stage}, {stage.machine}" in text
    with pytest.raises(InputError, match="timed nothing"):
        plan.plot("measured", measured=replace(verification, stages=()))
    with plan.session(threads=1) as session:
        with pytest.raises(InputError, match="ran nothing yet"):
            plan.plot("measured", measured=session)
        session.run({one.name: np.zeros(one.shape, np.float32) for one in plan.model.inputs})
        ElementTree.fromstring(plan.plot("measured", measured=session))


def record(plan, *, choice=0, fault=None, taken_s=0.25, told=True):
    stages = tuple(
        StageRecord(one.machine, one.machine, one.parts, one.compute_s, one.compute_s * 1.1 if told else None)
        for one in plan.stages
    )
    return RunRecord(
        number=0,
        started_s=0.0,
        choice=choice,
        cut=plan.cut,
        conditions=Conditions.of_link(plan.link),
        predicted_s=plan.latency_s,
        taken_s=taken_s,
        stages=stages,
        visits=(VisitRecord(0.1, 0.11, None, 10, 20, fault),),
    )


def test_measured_by_records():
    plan = chain_plan()
    records = [
        record(plan),
        record(plan, taken_s=0.35),
        record(plan, fault="gone"),
        record(plan, choice=3, taken_s=9.0),
    ]
    text = plan.plot("measured", measured=records)
    assert "300.0 ms measured" in text
    assert "link, there and back" in text
    page = report_html(plan, records)
    assert "Left out: 1 requests with another cut, 1 that the device had to finish." in page
    assert "not told by the server" in plan.plot("measured", measured=[record(plan, told=False)])
    with pytest.raises(InputError, match="in none of these records did the server answer"):
        plan.plot("measured", measured=[record(plan, fault="gone")])
    with pytest.raises(InputError, match="measured holds no measurement"):
        plan.plot("measured", measured=[])


def test_measured_ways_that_were_told_apart():
    plan = chain_plan()
    one = record(plan)
    ways = replace(one.visits[0], predicted_uplink_s=0.06, predicted_downlink_s=0.04, uplink_s=0.07, downlink_s=0.05)
    text = plan.plot("measured", measured=[replace(one, visits=(ways,))])
    assert "link, there and back" not in text
    assert "70.0 ms measured" in text
    assert "50.0 ms measured" in text


def test_files_are_not_replaced_in_silence(tmp_path):
    plan = chain_plan()
    path = plan.report(tmp_path / "x.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(InputError, match=r"exists; choose another, or pass overwrite=True"):
        plan.report(path)
    plan.report(path, overwrite=True)
    with pytest.raises(InputError, match="is a folder"):
        plan.report(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        plan.report(tmp_path / "no" / "x.html")
    with pytest.raises(InputError, match=r"ending '.pdf' is unknown; use .svg or .png"):
        plan.plot("graph", tmp_path / "x.pdf")
    with pytest.raises(InputError, match="figure 'pie' does not exist"):
        plan.plot("pie")
    assert [one.name for one in tmp_path.iterdir()] == ["x.html"]


def test_png(tmp_path):
    plan = chain_plan()
    try:
        import resvg_py  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(InputError, match="PNG needs the package resvg_py, which is not installed"):
            plan.plot("graph", tmp_path / "x.png")
        assert not list(tmp_path.iterdir())
        return
    plan.plot("graph", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def browser():
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@pytest.mark.skipif(browser() is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser(plan, tmp_path, width):
    """The page is laid out in the width of the screen, and the policy lets its own style through."""
    plan.report(tmp_path / "x.html")
    (tmp_path / "frame.html").write_text(
        f'<!DOCTYPE html><title>?</title><iframe id="f" width="{width}" height="800" src="x.html"></iframe><script>'
        "const f=document.getElementById('f');f.onload=()=>{const d=f.contentDocument.documentElement;"
        "const s=f.contentWindow.getComputedStyle(f.contentDocument.querySelector('svg .device')).fill;"
        "document.title=[d.scrollWidth,d.clientWidth,s].join('|')}</script>",
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    scrolled, shown, fill = re.search(r"<title>(.*?)</title>", done.stdout)[1].split("|")
    assert int(scrolled) <= int(shown)
    assert fill == "rgb(0, 114, 178)"


def test_a_graph_of_thousands_of_layers_stays_small():
    from benchmarks.report import large_model

    plan = partition(load_graph(large_model(1_000)), "2Mbps")
    text = report_html(plan)
    assert len(text.encode()) < 1e6
    assert "layers in" in text
    parsed(text)


def test_records_are_read_back(tmp_path):
    plan = chain_plan()
    records = [record(plan), record(plan, fault="gone", told=False)]
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"requests": records_to_json(records)}), encoding="utf-8")
    assert plan.plot("measured", measured=read_run(path)) == plan.plot("measured", measured=records)
    broken = records_to_json(records)
    broken[1]["stages"][0]["machine"] = "elsewhere"
    path.write_text(json.dumps({"requests": broken}), encoding="utf-8")
    with pytest.raises(InputError, match=r"requests\[1\].stages\[0\].machine' is 'elsewhere'"):
        read_run(path)
