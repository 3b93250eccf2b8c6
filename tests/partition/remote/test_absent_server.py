"""A server that is not there, is not trusted or is asked in the wrong way when a session opens: never in silence."""

import json
import logging
import socket
import subprocess
import time

import numpy as np
import pytest

import partition.remote.remote_server as remote_server
from partition import load_plan, partition
from partition.adaptation.conditions import Conditions
from partition.remote.errors import Refused
from partition.remote.options import RemoteOptions
from partition.remote.records import cut_text, records_to_json
from partition.serve import Server
from tests.models import relu_chain
from tests.partition.remote.scripted import ScriptedServer, answer

X = {"x": np.array([[0.3, -0.7, 0.123, 0.999]], np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("absent")
    partition(relu_chain(5), "wifi", granularity="node", cut=["t0"]).save(home / "out")
    return home / "out"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the paths of a self-signed certificate for localhost and of its key."""
    home = tmp_path_factory.mktemp("tls")
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    options += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    try:
        files = ["-keyout", home / "key.pem", "-out", home / "cert.pem"]
        subprocess.run(["openssl", "req", *options, *files], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this host has no openssl that makes certificates")
    return home / "cert.pem", home / "key.pem"


@pytest.fixture(scope="module")
def plain(folder):
    with Server([folder], threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def secure(folder, certificate):
    with Server([folder], threads=1, certificate=certificate[0], key=certificate[1]) as running:
        yield running


@pytest.fixture
def hurried(monkeypatch):
    """Wait for no answer as long as in earnest."""
    monkeypatch.setattr(remote_server, "_CONNECT_TIMEOUT_S", 0.5)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return closed.getsockname()[1]


def wait_for(condition, seconds=20.0):
    end_s = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end_s, "waited in vain"
        time.sleep(0.02)


def expected(plan):
    with plan.session(threads=1) as session:
        return session.run(X)


def test_nobody_is_there_when_the_session_opens_and_later_somebody_is(folder, caplog):
    plan = load_plan(folder)
    port = free_port()
    with caplog.at_level(logging.WARNING), plan.session(server=f"http://127.0.0.1:{port}", threads=1) as session:
        assert "goes on alone until the server is back" in caplog.text
        assert f"127.0.0.1:{port} cannot be reached" in caplog.text
        np.testing.assert_array_equal(session.run(X)["y"], expected(plan)["y"])
        assert not session.is_remote
        record = session.last
        assert "cannot be reached" in record.fault
        assert (record.not_asked, record.visits, record.on_server) == (record.fault, (), False)
        [content] = records_to_json(session.records)
        assert content["fault"] == content["not_asked"] == record.fault
        explained = plan.explain_run(session)
        assert explained.fault == record.fault
        for text in (str(record), str(explained)):
            assert text.endswith(f"the server was not asked: {record.fault}")
        with Server([folder], threads=1, port=port):
            wait_for(lambda: session.is_remote)
            assert session._server.breaker.reason == ""
            session.run(X)
            assert session.last.on_server
            assert session.last.fault is None
            assert "not asked" not in str(session.last) + str(plan.explain_run(session))
    assert len(caplog.records) == 1


def test_a_server_that_is_lost_later_is_the_fault_of_all_that_did_not_ask_it(folder):
    plan = load_plan(folder)
    first = Server([folder], threads=1)
    first.start()
    with plan.session(server=first.url, threads=1) as session:
        first.stop()
        for _ in range(3):
            session.run(X)
        lost, *after = session.records
    assert lost.visits[0].fault == lost.fault
    assert lost.not_asked is None
    assert all(one.not_asked is not None and one.fault == one.not_asked for one in after)


def test_a_placement_that_was_taken_because_the_server_is_away_says_so(tmp_path):
    adapting = partition(
        relu_chain(5), "1Gbps", granularity="node", adapt={"bandwidth": "1kbps..10Gbps", "server_slowdown": "0.01..100"}
    )
    adapting.save(tmp_path / "out")
    plan = load_plan(tmp_path / "out")
    with plan.session(server=f"http://127.0.0.1:{free_port()}", threads=1) as session:
        session.run(X)
        assert "cannot be reached" in session.last.fault


def test_a_server_that_is_there_by_then_and_refuses_is_told_once(folder, caplog):
    plan = load_plan(folder)
    port = free_port()
    with caplog.at_level(logging.WARNING), plan.session(server=f"http://127.0.0.1:{port}", threads=1) as session:
        with Server([folder], threads=1, port=port, token="another"):
            wait_for(lambda: "token" in session._server.breaker.reason)
            with pytest.raises(Refused):
                session._server.probe()
        session.run(X)
        assert "token" in session.last.fault or "reached" in session.last.fault
    assert [one.levelname for one in caplog.records] == ["WARNING", "WARNING"]
    assert "give the token" in caplog.records[1].getMessage()


@pytest.mark.parametrize("hold", ["all", "own"])
def test_a_certificate_that_is_not_trusted_is_refused(folder, secure, certificate, hold):
    plan, options = load_plan(folder), RemoteOptions(hold=hold)
    url = f"https://localhost:{secure.url.rsplit(':', 1)[1]}"
    with pytest.raises(Refused, match=r"is not trusted: self.signed certificate; give the PEM file"):
        plan.session(server=url, options=options)
    own = str(certificate[0])
    with pytest.raises(Refused, match=r"is not trusted: IP address mismatch"):
        plan.session(server=url.replace("localhost", "127.0.0.1"), ca_file=own, options=options)
    with plan.session(server=url, ca_file=own, options=options, threads=1) as session:
        session.run(X)
        assert session.last.on_server


@pytest.mark.parametrize("hold", ["all", "own"])
def test_a_server_that_is_asked_in_the_other_way_is_refused(folder, secure, plain, hurried, hold):
    plan, options = load_plan(folder), RemoteOptions(hold=hold)
    with pytest.raises(Refused, match="speaks TLS; give its URL with https"):
        plan.session(server=secure.url.replace("https:", "http:"), options=options)
    with pytest.raises(Refused, match="speaks HTTP without TLS; give its URL with http"):
        plan.session(server=plain.url.replace("http:", "https:"), options=options)


@pytest.mark.parametrize(
    ("scheme", "script"),
    [
        ("http", "close"),
        ("http", answer(status=b"500 Oops")),
        ("https", "close"),
        ("https", answer(status=b"400 This port wants TLS")),
    ],
)
def test_what_cannot_be_told_for_sure_is_waited_for(folder, hurried, monkeypatch, caplog, scheme, script):
    monkeypatch.setattr(remote_server, "_PROBE_TIMEOUT_S", 0.2)
    with ScriptedServer(script) as server:
        url = server.url.replace("http:", f"{scheme}:")
        with load_plan(folder).session(server=url, threads=1) as session:
            session.run(X)
            assert session.last.fault
    assert "goes on alone" in caplog.text


def test_the_command_says_that_the_device_was_alone_and_why(folder, plain, command):
    url = f"http://127.0.0.1:{free_port()}"
    done = command("run", folder, "--server", url)
    assert done.code == 0
    assert done.err.startswith("the device goes on alone until the server is back")
    assert f"here alone: server {url} cannot be reached" in " ".join(done.out.split())
    assert "here and on the server" not in done.out
    done = command("run", folder, "--server", url, "--json")
    content = json.loads(done.out)
    assert "cannot be reached" in content["requests"][0]["fault"]
    assert content["explained"][0]["fault"] == content["requests"][0]["fault"]
    done = command("run", folder, "--server", plain.url, "--require-server", "--runs", "2")
    assert (done.code, done.err) == (0, "")
    assert "here and on the server" in " ".join(done.out.split())


def test_the_command_fails_without_the_server_where_that_is_required(folder, command, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    done = command("run", folder, "--server", url, "--require-server", "--output", tmp_path / "y.npz")
    assert (done.code, done.out) == (2, "")
    assert "run 0 was finished without the server: server http" in done.err.splitlines()[-1]
    assert not (tmp_path / "y.npz").exists()
    done = command("run", folder, "--require-server")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "belong to --server" in done.err


def test_the_command_refuses_a_certificate_that_is_not_trusted(folder, secure, command):
    done = command("run", folder, "--server", secure.url)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "is not trusted" in done.err


def test_conditions_and_cuts_in_words():
    rates = "1 Mbit/s up, 1 Mbit/s down, rtt 10 ms"
    assert str(Conditions(1e6, 1e6, 0.01)) == rates
    assert str(Conditions(1e6, 1e6, 0.01, 0.145, 1.0001)) == f"{rates}, device 6.9 times faster than planned"
    assert str(Conditions(1e6, 1e6, 0.01, 1.0, 2.5)) == f"{rates}, server 2.5 times slower than planned"
    assert (cut_text(()), cut_text(("a", "b"))) == ("all on the device", "cut at a, b")
