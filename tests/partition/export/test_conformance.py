"""The script that meets Triton's own client and server, as far as it runs without them."""

import json

import pytest

from benchmarks.conformance import __main__ as conformance
from benchmarks.conformance import checks
from benchmarks.conformance.models import save_echo, save_models, save_without_dimensions
from benchmarks.conformance.servers import echo_server, our_server
from partition.export.triton import export_triton
from partition.model_parts import load_parts
from partition.serve import Server
from tests.partition.export.model_config import read_config


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    work = tmp_path_factory.mktemp("conformance")
    return (*save_models(work), save_without_dimensions(work))


def test_our_client_meets_our_server(saved):
    with Server([one.folder for one in saved], threads=1) as server:
        found = checks.by_our_sessions("ours", server.url, saved) + checks.by_our_client("ours", server.url, saved)
    assert [one["what"] for one in found if not one["ok"]] == []
    assert len(found) == 2 * len(saved) + 3


def test_ensembles_for_the_python_backend(saved, tmp_path):
    adaptive = saved[2].folder
    made = export_triton(adaptive, tmp_path / "repository")
    checks.in_python_backend(made.folder, tmp_path / "ensembles")
    backends = {name: read_config(tmp_path / "ensembles" / name) for name in made.models}
    assert {config.backend or config.platform for config in backends.values()} == {"python", "ensemble"}
    for name, config in backends.items():
        has_program = (tmp_path / "ensembles" / name / "1" / "model.py").exists()
        assert has_program == (config.backend == "python") == ("parts" in [one.key for one in config.parameters])


def test_the_servers_that_are_timed(tmp_path):
    from benchmarks.conformance.overhead import _connected, _echoes

    folder = save_echo(tmp_path)
    assert len(load_parts(folder).parts) == 2
    with echo_server() as address, _connected(address) as end:
        assert len(_echoes(end, 100_000, 3)) == 3
    with our_server([folder]) as url:
        assert url.startswith("http://127.0.0.1:")


def test_what_cannot_be_installed_is_skipped_with_a_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    file = tmp_path / "result.json"
    arguments = ["--work", str(tmp_path / "work"), "--only", "server,configurations", "--json", str(file)]
    assert conformance.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "skipped, what needs tritonclient: pip cannot install" in printed
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["benchmark"] == "conformance"
    assert content["bars"] == []
    assert {row["kind"] for row in content["rows"]} == {"note"}


def test_a_step_that_does_not_exist(capsys):
    with pytest.raises(SystemExit, match="2"):
        conformance.main(["--only", "nothing"])
    assert "the steps are server, configurations, triton, overhead" in capsys.readouterr().err
