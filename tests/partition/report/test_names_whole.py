"""Names stay whole in what is printed: on a narrow terminal, in a pipe, and as text."""

import io

import pytest
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from partition.report.columns import Indented, keep_words, view_text
from partition.terminal import console

NAMES = ("gpu_0/" + "data_" * 9 + "0", "uint8-channel-huffman", "blocks.11/attention/self/query/kernel")


def view():
    table = Table(pad_edge=False)
    table.add_column("tensor", overflow="fold")
    table.add_column("codec")
    table.add_column("size", no_wrap=True, justify="right")
    table.add_row(Text(f"{NAMES[0]} float32[1, 2]"), Text(NAMES[1]), "12 kB")
    return Group(Indented(table), Text(f"cut at {NAMES[2]}, or elsewhere"))


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_as_text(width):
    text = view_text(view(), width)
    assert all(name in text for name in NAMES)
    assert "12 kB" in text
    assert "…" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout", screen)
    console().print(view())
    assert all(name in screen.getvalue() for name in NAMES)


@pytest.mark.parametrize("columns", [None, "30"])
def test_a_pipe(monkeypatch, capsys, columns):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    console().print(view())
    console().print("so ", end="")
    console().print("far")
    lines = capsys.readouterr().out.splitlines()
    assert all(any(name in line for line in lines) for name in NAMES)
    assert all(line == line.rstrip() for line in lines)
    assert lines[-1] == "so far"
    if columns is None:
        assert f"cut at {NAMES[2]}, or elsewhere" in lines  # one line, however long
        assert any(f"{NAMES[0]} float32[1, 2]" in line for line in lines)


def test_what_has_room_is_laid_out_as_before():
    table = Table("a", "b")
    table.add_row("one two three", "four")
    before, after = (Console(width=80, file=io.StringIO(), color_system=None) for _ in range(2))
    before.print(table)
    keep_words(table)
    after.print(table)
    assert before.file.getvalue() == after.file.getvalue()
