"""No example is left out in silence, no entry of the table is left over, and the runner notices what is false."""

import doctest
import signal

import click
import pytest
import typer

from benchmarks.__main__ import BENCHMARKS
from partition.cli import app
from tests.docs import listed
from tests.docs.blocks import blocks_of, inline_commands, pages, path_of
from tests.docs.page import ExampleError, PageRun, can_run
from tests.docs.shell import commands_of, output_of


def all_blocks():
    return [block for page in pages() for block in blocks_of(page, path_of(page).read_text(encoding="utf-8"))]


def skipped_examples(block):
    for example in doctest.DocTestParser().get_examples(block.text):
        if doctest.SKIP in example.options:
            yield example.source


def entries_of(block):
    """Return what of a block is not run, each with its entry in the table, or None."""
    kind = block.kind
    if kind == "shell":
        found = []
        for command in commands_of(block.text):
            entry = listed.listed_command(block.page, command.text)
            if entry is not None or not can_run(command):
                found.append((command.text, entry))
        return found
    if kind == "doctest":
        return [(text, listed.listed_block(block.page, text)) for text in skipped_examples(block)]
    entry = listed.listed_block(block.page, block.text)
    if entry is None and (kind in ("python", "output") or kind in listed.FILES.get(block.page, {})):
        return []
    return [(block.text, entry)]


def test_every_example_is_run_or_listed():
    unlisted = [f"{block}: {text}" for block in all_blocks() for text, entry in entries_of(block) if entry is None]
    assert not unlisted, "neither run nor listed in tests/docs/listed.py:\n" + "\n".join(unlisted)


def test_every_entry_is_needed():
    used = {id(entry) for block in all_blocks() for _, entry in entries_of(block)}
    left_over = [entry.begins for entry in (*listed.COMMANDS, *listed.BLOCKS) if id(entry) not in used]
    assert not left_over


def test_shown_output_follows_an_example():
    for page in pages():
        before = None
        for block in blocks_of(page, path_of(page).read_text(encoding="utf-8")):
            if block.kind == "output" and listed.listed_block(page, block.text) is None:
                assert before in ("python", "shell"), f"{block}: output of what? If it is code, say ```python or ```sh"
                assert not any(text.startswith((">>>", "import ")) for text in block.text.splitlines()), block
            before = block.kind


@pytest.mark.parametrize("page", pages())
def test_commands_in_sentences_exist(page):
    """Commands in running text are not run; their names and options exist."""
    program = typer.main.get_command(app)
    for span in inline_commands(path_of(page).read_text(encoding="utf-8")):
        words = span.split()
        if words[0] == "python":
            assert words[2] not in ("benchmarks",) or words[3:4] in ([], ["NAME"]) or words[3] in BENCHMARKS, span
            continue
        if words[1] in ("...", "NAME") or words[1].startswith("-"):
            continue
        command = program.get_command(click.Context(program), words[1])
        assert command is not None, f"{page}: `{span}`"
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        for word in words[2:]:
            option = word.partition("=")[0].strip("[](),;.")
            assert not option.startswith("-") or option in known, f"{page}: `{span}` has no option {option}"


# --- the runner itself ------------------------------------------------------------------------------------------------


def run(text, tmp_path, page="docs/chain.md"):
    PageRun(page, tmp_path).run(blocks_of(page, text))


def test_what_is_true_passes(tmp_path):
    run(
        "```python\nx = 3\nprint('so', x)\n```\n\n```\nso 3\n```\n\n```python\n>>> x + 1\n4\n\n```\n"
        "```sh\n$ dnn-partition --version\ndnn-partition ...\n```\n"
        "```python\nprint('took 12.5 ms')\n```\n<!-- numbers vary -->\n```\ntook 7 us\n```\n",
        tmp_path,
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nraise ValueError('no')\n```\n", "docs/chain.md:1: ValueError: no"),
        ("```python\nprint(3)\n```\n```\n4\n```\n", "shows:\n4"),
        ("```python\nprint('a b')\n```\n```\na\n...\na\n```\n", "shows:\n\na\n"),
        ("```python\n>>> 1 + 1\n3\n\n```\n", "Expected:\n    3"),
        ("```\ndnn-partition split none.onnx -b 4g\n```\n", "ended with 2"),
        ("```\ndnn-partition serve none/\n```\n", "does not listen"),
        ("```\nssh robot true\n```\n", "neither run nor listed"),
        ("```sh\nrm -rf out/\n```\n", "neither run nor listed"),
        ("```yaml\na: 1\n```\n", "neither run nor listed"),
        ("```python\nprint(3)\n```\n<!-- numbers vary -->\n```\nother words\n```\n", "shows:\nother words"),
    ],
)
def test_what_is_false_fails(text, complaint, tmp_path):
    with pytest.raises(ExampleError, match=r"(?s).*") as caught:
        run(text, tmp_path)
    assert complaint in str(caught.value)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no such timer")
@pytest.mark.parametrize(
    "block",
    [
        "```python\nimport time\ntry:\n    time.sleep(600)\nexcept Exception:\n    pass\n```\n",
        "```sh\npython -c 'import time; time.sleep(600)'\n```\n",
    ],
)
def test_what_hangs_fails(block, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.docs.page._in_time.__wrapped__.__defaults__", (1,))
    with pytest.raises(ExampleError, match=r"docs/chain\.md:1: .*did not end within 1 s"):
        run(block, tmp_path)


def test_a_block_that_never_ends():
    with pytest.raises(ValueError, match=r"docs/chain\.md:2: this block never ends"):
        blocks_of("docs/chain.md", "text\n```python\nx = 1\n")


@pytest.mark.parametrize("line", ["a | b", "a && b", "a > b c", "echo $(date)", "a < b"])
def test_more_of_a_shell_is_refused(line):
    with pytest.raises(ValueError, match="known here"):
        commands_of(line)


def test_lines_of_a_shell():
    one, two = commands_of("# only a comment\nTOKEN='a b' dnn-partition x --y 'c d' \\\n    > f.json  # why\nmake &\n")
    assert one.words == ("dnn-partition", "x", "--y", "c d")
    assert (one.variables, one.stdout_file, one.background) == ((("TOKEN", "a b"),), "f.json", False)
    assert (two.words, two.background) == (("make",), True)
    assert [command.words for command in commands_of("$ make x\nmade\n")] == [("make", "x")]
    assert output_of("$ make x\nmade\n") == "made"
