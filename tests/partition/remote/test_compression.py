"""Sessions that compress their messages: the same results bit for bit, only where it pays, and nothing in silence."""

import sys

import numpy as np
import pytest
import zstandard

from partition import InputError, load_plan, partition
from partition.adaptation.conditions import Conditions
from partition.remote import remote_server
from partition.remote.client import V2Client
from partition.remote.compression import RETRY_AFTER, Compression
from partition.remote.errors import BadAnswer
from partition.remote.options import RemoteOptions
from partition.remote.records import records_to_json
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint
from partition.report.page.run_file import read_run
from partition.serve import Server
from partition.serve.coding import BodyCoding
from partition.v2.codec import encode_response
from partition.v2.names import stage_interface
from tests.models import model, node
from tests.partition.remote.scripted import ScriptedServer, answer
from tests.scale import scaled

SHAPE = (1, 16, 32, 32)
SLOW = Conditions(2e6, 2e6, 0.001)
FAST = Conditions(1e12, 1e12, 0.001)
ZSTD = RemoteOptions(compression="zstd", adapt=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    whole = model([node("Relu", "x", "t0"), node("Abs", "t0", "t1"), node("Relu", "t1", "y")], {"x": SHAPE}, ["y"])
    home = tmp_path_factory.mktemp("compression") / "out"
    partition(whole, "2Mbps", granularity="node", cut=["t0"]).save(home)
    return home


@pytest.fixture(scope="module")
def server(folder):
    with Server([folder], threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def plain_server(folder):
    with Server([folder], threads=1, compression=False) as running:
        yield running


def open_session(folder, url, *, now=SLOW, options=ZSTD, **more):
    return RemoteSession(load_plan(folder), Endpoint.parse(url), options=options, threads=1, told=lambda: now, **more)


def features(seed, share=0.5):
    """Return floats of which so many are above 0."""
    generator = np.random.default_rng(seed)
    found = generator.standard_normal(SHAPE).astype(np.float32)
    return np.where(generator.random(SHAPE) < share, np.abs(found), -1).astype(np.float32)


def run(session, seed=0):
    x = features(seed)
    outputs = session.run({"x": x})
    assert outputs["y"].tobytes() == np.maximum(x, 0).tobytes()
    assert session.last.fault is None
    (visit,) = session.last.visits
    return visit


def test_both_directions_get_smaller_and_results_are_the_same(folder, server):
    with open_session(folder, server.url) as session:
        for seed in range(scaled(6, 60)):
            visit = run(session, seed)
            done = visit.compression
            assert visit.sent_bytes < 0.7 * done.plain_sent_bytes
            assert visit.received_bytes < 0.7 * done.plain_received_bytes
            assert done.plain_sent_bytes > features(0).nbytes < done.plain_received_bytes
            assert done.remark is None
            assert done.device_s > 0
            assert done.server_s > 0
        # What is expected follows what was seen.
        assert visit.predicted_uplink_s == pytest.approx(8 * visit.sent_bytes / 2e6 + 0.001, rel=0.05)
        assert done.predicted_s > 0
        assert f"up {visit.sent_bytes} of {done.plain_sent_bytes} bytes; down" in str(session.last)


def test_nothing_is_compressed_unless_asked_for(folder, server):
    with open_session(folder, server.url, options=RemoteOptions(adapt=False)) as session:
        visit = run(session)
        assert visit.compression is None
        assert visit.sent_bytes > features(0).nbytes


def test_another_server_gets_plain_bodies_and_the_record_says_so(folder, plain_server):
    with open_session(folder, plain_server.url) as session:
        visit = run(session)
    assert visit.compression.remark == "the server does not take zstd"
    assert visit.sent_bytes == visit.compression.plain_sent_bytes
    assert "the server does not take zstd" in str(session.last)


def test_a_server_that_never_heard_of_it_sees_nothing_of_it(folder):
    """Nothing but what it would see from a session without."""
    plan = load_plan(folder)
    stage = stage_interface(plan, plan.stages[1].parts)
    described = b'{"inputs":[{"name":"t0","datatype":"FP32"}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1]}]}'
    message = encode_response(stage.name, {"y": np.zeros(SHAPE, np.float32)}, binary={"y": True})
    headers = f"Inference-Header-Content-Length: {message.json_bytes}\r\n".encode()
    answers = [answer(described), answer(b"{}"), answer(b"".join(map(bytes, message.chunks)), headers=headers)]
    seen = []
    for options in (ZSTD, RemoteOptions(adapt=False)):
        with ScriptedServer(*answers) as other, open_session(folder, other.url, options=options) as session:
            session.run({"x": features(0)})
            seen.append(
                [(head.partition(b"Host")[0], head.partition(b"\r\nContent")[2], body) for head, body in other.requests]
            )
    assert seen[0] == seen[1]
    assert b"ncoding" not in b"".join(head for _, head, _ in seen[0])


def test_a_server_that_stops_taking_it_gets_the_request_again(folder):
    with Server([folder], threads=1) as server, open_session(folder, server.url) as session:
        assert run(session).compression.remark is None
        server._service.coding = BodyCoding(False)
        for _ in range(2):
            visit = run(session)
            assert visit.compression.remark == "the server does not take zstd"
            assert visit.sent_bytes == visit.compression.plain_sent_bytes


def test_it_stops_where_it_does_not_pay_and_tries_again(folder, server):
    now = FAST
    plan = load_plan(folder)
    with RemoteSession(plan, Endpoint.parse(server.url), options=ZSTD, threads=1, told=lambda: now) as session:
        packs = []
        for seed in range(RETRY_AFTER + 3):
            done = run(session, seed).compression
            packs.append(done.device_s > 0)
            assert done.remark == "compressing does not pay"
            assert done.plain_sent_bytes == session.last.visits[0].sent_bytes
        # Tried, and tried again; what came of it went as it is.
        assert [number for number, one in enumerate(packs) if one] == [0, RETRY_AFTER + 1]
        now = SLOW
        assert run(session).compression.remark is None


def test_what_does_not_shrink_goes_as_it_is(folder, server):
    noise = np.random.default_rng(3).integers(0, 0x3FFFFFFF, SHAPE, dtype=np.uint32).view(np.float32)
    with open_session(folder, server.url) as session:
        for _ in range(3):
            assert session.run({"x": noise})["y"].tobytes() == noise.tobytes()
            assert session.last.visits[0].compression.remark in (None, "compressing does not pay")
    (visit,) = session.last.visits
    assert visit.sent_bytes > 0.9 * noise.nbytes


def test_estimates_are_of_the_bytes_on_the_way(folder, server, monkeypatch):
    seen = []
    observation = remote_server._observation

    def note(*arguments, **more):
        seen.append(observation(*arguments, **more))
        return seen[-1]

    monkeypatch.setattr(remote_server, "_observation", note)
    with open_session(folder, server.url) as session:
        visit = run(session)
    assert (seen[-1].sent_bytes, seen[-1].received_bytes) == (visit.sent_bytes, visit.received_bytes)
    # What the server took to pack and unpack is not the link's.
    assert seen[-1].server_s >= visit.compression.server_s


def test_a_run_is_explained_with_it(folder, server):
    plan = load_plan(folder)
    with open_session(folder, server.url) as session:
        for seed in range(4):
            visit = run(session, seed)
        explained = plan.explain_run(session)
    assert [leg.what for leg in explained.legs] == [
        "device", "compressing", "uplink", "queue", "server", "downlink", "other"
    ]  # fmt: skip
    assert sum(leg.measured_s or 0.0 for leg in explained.legs) == pytest.approx(explained.measured_s)
    assert sum(leg.predicted_s or 0.0 for leg in explained.legs) == pytest.approx(explained.predicted_s, rel=0.05)
    compressing, uplink = explained.legs[1:3]
    assert compressing.measured_s == visit.compression.device_s + visit.compression.server_s
    assert f"up {visit.sent_bytes} of {visit.compression.plain_sent_bytes} bytes" in compressing.remark
    assert uplink.size_bytes == visit.sent_bytes


def test_records_are_written_and_read(folder, server, tmp_path):
    import json

    with open_session(folder, server.url) as session:
        run(session)
        records = session.records
    (tmp_path / "run.json").write_text(json.dumps({"requests": records_to_json(records)}), encoding="utf-8")
    (found,) = read_run(tmp_path / "run.json")
    assert found.visits == records[0].visits


def test_a_lost_server_is_no_loss(folder):
    with Server([folder], threads=1) as server, open_session(folder, server.url) as session:
        run(session)
        server.stop()
        x = features(1)
        assert session.run({"x": x})["y"].tobytes() == np.maximum(x, 0).tobytes()
        (visit,) = session.last.visits
        assert visit.fault is not None
        assert visit.sent_bytes < visit.compression.plain_sent_bytes


def test_many_at_once(folder, server):
    xs = [features(seed) for seed in range(scaled(16, 200))]
    with open_session(folder, server.url) as session:
        for x, outputs in zip(xs, session.stream({"x": x} for x in xs), strict=True):
            assert outputs["y"].tobytes() == np.maximum(x, 0).tobytes()
        assert all(one.fault is None for one in session.records)
        assert sum(one.visits[0].compression.remark is None for one in session.records) > len(xs) // 2


def test_asked_for_and_missing_or_unknown_is_an_error(folder, server, monkeypatch):
    with pytest.raises(InputError, match="compression is 'gzip'; give 'zstd', or None"):
        RemoteOptions(compression="gzip")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match="'zstandard' is not installed here; install the extra zstd"):
        open_session(folder, server.url)
    with open_session(folder, server.url, options=RemoteOptions(adapt=False)) as session:
        run(session)


Y = np.zeros(SHAPE, np.float32)


def zipped(content):
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)


def whole_answer(name):
    found = encode_response(name, {"y": Y}, binary={"y": True})
    return b"".join(map(bytes, found.chunks)), found.json_bytes


@pytest.mark.parametrize(
    ("change", "coding", "asked", "message"),
    [
        (zipped, "zstd", True, None),
        (zipped, "zstd", False, "though that was not asked for"),
        (zipped, "gzip", True, "compressed by 'gzip', which was not asked for"),
        (lambda body: body, "zstd", True, "not one frame of zstd"),
        (lambda body: zipped(body)[:-1], "zstd", True, "cannot be decompressed"),
        (lambda body: zipped(body) + b"\0", "zstd", True, "unused data"),
        (lambda body: zipped(body) * 2, "zstd", True, "unused data"),
        (lambda body: zipped(bytes(1 << 27)), "zstd", True, "at most 67108864 are taken"),
        (lambda body: zstandard.ZstdCompressor(write_content_size=False).compress(body), "zstd", True, "does not say"),
    ],
)
def test_answers_that_are_not_right(folder, change, coding, asked, message):
    plan = load_plan(folder)
    stage = stage_interface(plan, plan.stages[1].parts)
    body, json_bytes = whole_answer(stage.name)
    headers = f"Inference-Header-Content-Length: {json_bytes}\r\nContent-Encoding: {coding}\r\n".encode()
    compression = Compression()
    compression.is_taken = True
    begun = compression.begin(stage.name, Y.nbytes, Y.nbytes, SLOW)
    with (
        ScriptedServer(answer(change(body), headers=headers)) as server,
        V2Client(Endpoint.parse(server.url)) as client,
    ):

        def ask():
            return client.infer(stage, {"t0": Y}, timeout_s=5, coding=begun if asked else None)

        if message is None:
            assert ask()[0]["y"].tobytes() == Y.tobytes()
            return
        with pytest.raises(BadAnswer, match=message):
            ask()


def test_the_command(folder, server, command):
    import json

    done = command("run", folder, "--server", server.url, "--compression", "zstd", "--json", "--runs", "2")
    assert done.code == 0, done.err
    (_, second) = json.loads(done.out)["requests"]
    assert second["visits"][0]["compression"]["plain_sent_bytes"] > second["visits"][0]["sent_bytes"] - 1
    refused = command("run", folder, "--compression", "zstd")
    assert (refused.code, "--compression belong to --server" in refused.err) == (2, True)
