"""Every example of README.md and docs/ does what its page says.

A page's blocks run in order, in one folder of their own: Python in one namespace, commands through the command line,
servers as processes on free ports of this machine. resnet50.onnx, model.onnx and the like are small models that really
run (`tests.docs.stand_ins`); measured figures of pages are not theirs. What is shown behind an example is compared with
what it prints. What is not run stands, with the reason, in the table of `tests.docs.listed`.
"""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks.__main__ import EXTRAS
from tests.docs import listed
from tests.docs.blocks import ROOT, blocks_of, inline_commands, pages, path_of
from tests.docs.page import PageRun
from tests.docs.shell import commands_of
from tests.scale import FULL


def blocks(page):
    return blocks_of(page, path_of(page).read_text(encoding="utf-8"))


def has_examples(page):
    return any(block.kind in ("python", "doctest", "shell") for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in pages() if has_examples(page)])
def test_examples_of_a_page(page, tmp_path):
    programs = {one.words[0] for block in blocks(page) if block.kind == "shell" for one in commands_of(block.text)}
    if "openssl" in programs and shutil.which("openssl") is None:
        pytest.skip("this host has no openssl")
    PageRun(page, tmp_path).run(blocks(page))


def test_there_are_examples():
    assert sum(map(has_examples, pages())) > 20
    assert set(listed.GIVEN) | set(listed.FILES) <= set(pages())
    assert set(listed.BENCHMARKS) <= set(benchmarks_named())


def benchmarks_named():
    """Return the benchmarks that running text names as commands."""
    texts = (path_of(page).read_text(encoding="utf-8") for page in pages())
    words = (span.split() for text in texts for span in inline_commands(text))
    return sorted({one[3] for one in words if one[:3] == ["python", "-m", "benchmarks"] and one[3:4] != ["NAME"]})


@pytest.mark.skipif(not FULL, reason="runs for minutes; the tests of each benchmark run it in parts")
@pytest.mark.parametrize("name", [name for name in benchmarks_named() if name not in listed.BENCHMARKS])
def test_benchmarks_that_sentences_name(name, tmp_path):
    if any(find_spec(module) is None for module in EXTRAS.get(name, ())):
        pytest.skip("needs the extra bench")
    words = [sys.executable, "-m", "benchmarks", name, "--quick", "--json", str(tmp_path / "result.json")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
