"""Requests explained leg by leg: figures that add up, in process and with a server, with faults and without."""

import json
from dataclasses import replace

import numpy as np
import pytest

from partition import InputError, load_plan, partition
from partition.adaptation.conditions import Conditions
from partition.remote.options import RemoteOptions
from partition.remote.records import RunRecord, StageRecord, VisitRecord
from partition.runtime.files import default_inputs
from partition.serve import Server
from tests.models import relu_chain
from tests.partition.remote.codecs import BYTEWISE

X = np.array([[0.3, -0.7, 0.123, 0.999]], np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    partition(relu_chain(5), "wifi", granularity="node", cut=["t0"]).save(folder / "out")
    partition(relu_chain(4), "wifi", granularity="node", cut=["x"], input_bytes={"x": 12}).save(folder / "encoded")
    return folder


@pytest.fixture(scope="module")
def server(saved):
    with Server([saved / "out", saved / "encoded"], threads=1, codecs=[BYTEWISE]) as running:
        yield running


def legs(explained):
    return [leg.what for leg in explained.legs]


def measured(explained):
    return sum(leg.measured_s or 0.0 for leg in explained.legs)


def test_a_request_with_a_server(saved, server):
    plan = load_plan(saved / "out")
    with plan.session(server=server.url, threads=1) as session:
        with pytest.raises(InputError, match="has run nothing"):
            plan.explain_run(session)
        for _ in range(3):
            session.run({"x": X})
        explained = plan.explain_run(session)
        assert explained.number == 2
        assert plan.explain_run(session.records[0]).number == 0
        record = session.last
    assert legs(explained) == ["device", "uplink", "queue", "server", "downlink", "other"]
    assert measured(explained) == pytest.approx(record.taken_s)
    assert explained.measured_s == record.taken_s
    assert explained.predicted_s == record.predicted_s
    predicted = sum(leg.predicted_s or 0.0 for leg in explained.legs)
    assert predicted == pytest.approx(record.predicted_s, rel=0.2)  # a message's size is known exactly by now
    up, down = explained.legs[1], explained.legs[4]
    (visit,) = record.visits
    assert up.predicted_s + down.predicted_s == pytest.approx(visit.predicted_s)
    assert up.measured_s + down.measured_s == pytest.approx(visit.taken_s)
    assert (up.size_bytes, down.size_bytes) == (visit.sent_bytes, visit.received_bytes)
    text = str(explained)
    for word in ("request 2", "uplink", "wait in the server", "between these", "parts 0", "error"):
        assert word in text
    assert json.loads(json.dumps(explained.to_json(), allow_nan=False))["legs"][1]["what"] == "uplink"


def test_a_request_that_the_device_finished(saved):
    plan = load_plan(saved / "out")
    first = Server([saved / "out"], threads=1)
    first.start()
    with plan.session(server=first.url, threads=1, options=RemoteOptions(shortest_timeout_s=0.2)) as session:
        first.stop()
        session.run({"x": X})
        session.run({"x": X})
        lost, after = map(plan.explain_run, session.records)
    assert legs(lost) == ["device", "uplink", "server", "other"]
    assert lost.fault is not None
    assert lost.legs[1].remark.startswith("lost: ")
    assert (lost.legs[2].ran_on, lost.legs[2].remark) == ("device", "run on the device")
    assert legs(after) == ["device", "server", "other"]
    assert after.legs[1].remark == "run on the device, the server was not asked"
    assert lost.fault in lost.legs[1].remark
    assert "was not asked:" not in str(lost)
    # Not asked at all: for the reason for which the server is waited for.
    assert after.fault is not None
    assert str(after).endswith(f"the server was not asked: {after.fault}")
    assert measured(lost) == pytest.approx(lost.measured_s)


def test_the_encoding_is_seen_while_the_server_is_not_asked(saved):
    plan = load_plan(saved / "encoded")
    first = Server([saved / "encoded"], threads=1, codecs=[BYTEWISE])
    first.start()
    options = RemoteOptions(shortest_timeout_s=0.2)
    with plan.session(server=first.url, codecs={"x": BYTEWISE}, threads=1, options=options) as session:
        first.stop()
        session.run({"x": X})
        session.run({"x": X})
        lost, after = map(plan.explain_run, session.records)
    assert legs(lost) == ["encoding", "uplink", "server", "other"]
    assert legs(after) == ["encoding", "server", "other"]
    assert measured(after) == pytest.approx(after.measured_s)


def test_a_request_of_another_plan_with_as_many_parts(saved):
    """Part numbers alone would match; the same plan matches whether it was saved or not."""
    plan = load_plan(saved / "out")
    other = partition(relu_chain(9), "wifi", granularity="node", cut=["t6"])
    unsaved = partition(relu_chain(5), "wifi", granularity="node", cut=["t0"])
    assert [one.parts for one in other.stages] == [one.parts for one in plan.stages]
    with plan.session(threads=1) as session:
        session.run({"x": X})
        unsaved.explain_run(session)
        with pytest.raises(InputError, match="pass a session of this plan"):
            other.explain_run(session)
    with Server([saved / "out"], threads=1) as server, plan.session(server=server.url, threads=1) as session:
        session.run({"x": X})
        unsaved.explain_run(session)
        for run in (session, session.last):
            with pytest.raises(InputError, match="not one of this plan"):
                other.explain_run(run)


def test_a_run_in_process(saved):
    plan = load_plan(saved / "out")
    with plan.session(threads=1) as session:
        with pytest.raises(InputError, match="has run nothing"):
            plan.explain_run(session)
        session.run({"x": X})
        explained = plan.explain_run(session)
        assert measured(explained) == pytest.approx(session.run_s)
        other = partition(relu_chain(5), "wifi", granularity="node", cut=["x"])
        with pytest.raises(InputError, match="pass a session of this plan"):
            other.explain_run(session)
    assert legs(explained) == ["device", "uplink", "server", "downlink", "other"]
    assert [leg.measured_s is None for leg in explained.legs] == [False, True, False, True, False]
    assert sum(leg.predicted_s or 0.0 for leg in explained.legs) == pytest.approx(plan.latency_s)
    assert "without the link" in str(explained)
    assert explained.to_json()["number"] is None


def test_encoding_has_a_leg_of_its_own(saved, server):
    plan = load_plan(saved / "encoded")
    with plan.session(server=server.url, codecs={"x": BYTEWISE}, threads=1) as session:
        session.run({"x": X})
        explained = plan.explain_run(session)
    assert legs(explained) == ["encoding", "uplink", "queue", "server", "downlink", "other"]
    assert explained.legs[0].predicted_s is None
    assert explained.legs[0].error is None


def test_a_server_that_tells_no_times(saved):
    plan = load_plan(saved / "out")
    stages = (
        StageRecord("device", "device", (0,), 0.1, 0.2),
        StageRecord("server", "server", (1,), 0.1, None, asked=True),
        StageRecord("device", "device", (), 0.0, 0.0),
    )
    visit = VisitRecord(0.4, 0.6, None, 100, 50, None, 0.3, 0.1, 0.5, 0.1)
    conditions = Conditions.of_link(plan.link)
    record = RunRecord(7, 0.0, 0, ("t0",), conditions, 0.6, 0.9, stages, (visit,))
    explained = plan.explain_run(record)
    assert [leg.measured_s for leg in explained.legs] == [0.2, 0.5, None, 0.1, pytest.approx(0.1)]
    assert explained.legs[0].error == pytest.approx(-0.5)
    assert "tells no times" in explained.legs[2].remark
    assert explained.measured == ()
    assert str(explained).endswith("predicted with up, down, rtt, device, server as planned")
    up, down = conditions.uplink_bits_per_s / 2, conditions.downlink_bits_per_s / 2
    seen = replace(conditions, uplink_bits_per_s=up, downlink_bits_per_s=down, device_slowdown=0.5)
    seen = plan.explain_run(replace(record, conditions=seen, cut=()))
    assert ", all on the device, " in str(seen)
    assert "device 2 times faster than planned" in str(seen)
    assert str(seen).endswith("predicted with rtt, server as planned; down in proportion to up; up, device as measured")
    down = replace(conditions, downlink_bits_per_s=1e6)
    assert plan.explain_run(replace(record, conditions=down)).measured == ("downlink_bits_per_s",)
    with pytest.raises(InputError, match="not one of this plan"):
        load_plan(saved / "encoded").explain_run(record)
    with pytest.raises(InputError, match="got a str"):
        plan.explain_run("yesterday")


def test_the_command_prints_it_for_each_request(saved, server, command):
    for more, expected in (((), 2), (("--server", server.url), 2)):
        done = command("run", saved / "out", "--runs", "2", "--json", *more)
        assert done.code == 0, done.err
        explained = json.loads(done.out)["explained"]
        assert len(explained) == expected
        assert {leg["what"] for leg in explained[0]["legs"]} >= {"device", "uplink", "server", "downlink", "other"}
    assert default_inputs(load_plan(saved / "out"))
