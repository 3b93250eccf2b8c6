"""The API reference: all that it shows is documented, and the documented parameters are those of the code."""

import dataclasses
import importlib
import inspect
import re
import runpy
from functools import cache

import pytest

import graph_io
import partition
import solvers
from tests.docs.blocks import ROOT, pages

BUILD = runpy.run_path(str(ROOT / "docs" / "reference" / "build.py"))
SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
SECTIONS = {"Parameters", "Attributes", "Returns", "Yields", "Raises", "Notes", "References", "Examples"}
IMPORTED = re.compile(r"^(?:>>> )?from ((?:partition|graph_io|solvers)[\w.]*) import (\w[\w, ]*)", re.MULTILINE)


def sections(thing):
    """Return the sections of a docstring by name, after the text before them."""
    pieces = SECTION.split(inspect.cleandoc(thing.__doc__))
    return dict(zip(["", *pieces[1::2]], pieces[::2], strict=True))


def listed(section):
    """Return the names that a section lists."""
    rows = [row.partition(" : ")[0] for row in section.splitlines() if row and not row.startswith(" ")]
    return {name.strip().lstrip("*") for row in rows for name in row.split(",")}


def arguments(function):
    return {one.name for one in inspect.signature(function).parameters.values()} - {"self", "cls"}


def fields(one):
    """Return what a class is made of and shows: the fields of a dataclass, the arguments of its constructor else."""
    if dataclasses.is_dataclass(one):
        return {field.name for field in dataclasses.fields(one) if field.init and not field.name.startswith("_")}
    return arguments(one) if inspect.isfunction(vars(one).get("__init__")) else set()


def faults_of_function(function):
    found, wanted = sections(function), arguments(function)
    if "Parameters" in found and listed(found["Parameters"]) != wanted:
        yield f"Parameters are not the signature's: {sorted(listed(found['Parameters']) ^ wanted)}"
    if "Parameters" not in found and len(wanted) > 2:
        yield f"{len(wanted)} parameters and no list of them"
    returned = inspect.signature(function).return_annotation
    nothing = returned in (None, "None", inspect.Signature.empty)
    if nothing and "Returns" in found:
        yield "Returns, of a function that returns nothing"
    says = re.match(r"(Return|Say|Tell|Whether|Iterate)\b", found[""]) or {"Returns", "Yields"} & set(found)
    if "Parameters" in found and not nothing and not says:
        yield "no word of what it returns"


def faults(thing):
    """Yield what is wrong with the docstring of a public class, function, method or property."""
    if not (thing.__doc__ or "").strip():
        yield "no docstring"
        return
    found = sections(thing)
    summary = found[""].strip().split("\n\n")[0]
    if not summary.endswith((".", ":")):
        yield f"begins with what is no sentence: {summary!r}"
    if unknown := set(found) - SECTIONS - {""}:
        yield f"unknown sections {unknown}"
    for name in set(found) - {""}:
        if not found[name].strip():
            yield f"{name} is empty"
    if isinstance(thing, type):
        # A protocol is implemented, and an exception is caught: neither is made by the user.
        made = not getattr(thing, "_is_protocol", False) and not issubclass(thing, Exception)
        told = listed(found.get("Parameters", "")) | listed(found.get("Attributes", ""))
        if made and fields(thing) - told:
            yield f"neither Parameters nor Attributes tell of {sorted(fields(thing) - told)}"
    elif inspect.isroutine(thing):
        yield from faults_of_function(thing)


@cache
def reference():
    """Return all that the reference shows, by the name under which it does."""
    shown = {}
    for module, names in BUILD["public_names"]().items():
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            if isinstance(thing, type) or inspect.isfunction(thing):
                shown[f"{module}.{name}"] = thing
            if isinstance(thing, type):
                for member, value in vars(thing).items():
                    if member.startswith("_"):
                        continue
                    if isinstance(value, property):
                        shown[f"{module}.{name}.{member}"] = value
                    elif callable(value) or isinstance(value, classmethod | staticmethod):
                        bound = getattr(thing, member)
                        inherited = next(
                            (one for one in thing.__mro__ if getattr(vars(one).get(member), "__doc__", 0)), 0
                        )
                        if bound.__doc__ or not inherited:
                            shown[f"{module}.{name}.{member}"] = bound
    return shown


def test_the_reference_is_found():
    assert {"partition.partition", "partition.Plan.save", "solvers.Solution.optimal"} <= set(reference())


def test_public_docstrings_tell_what_the_code_takes():
    wrong = [f"{name}: {fault}" for name, thing in reference().items() for fault in faults(thing)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("docstring", "fault"),
    [
        (None, "no docstring"),
        ("Do it", "no sentence"),
        ("Do it.\n\nParameters\n----------\nfirst : int\n", "'second'"),
        ("Do it.\n\nParameters\n----------\nfirst, second, third : int\n", "'third'"),
        ("Do it.\n\nParameters\n----------\nfirst, second : int\n", "what it returns"),
        ("Do it.\n\nArguments\n---------\nfirst, second : int\n", "unknown sections"),
        ("Do it.\n\nRaises\n------\n\nNotes\n-----\nSlow.\n", "Raises is empty"),
    ],
)
def test_a_bad_docstring_is_seen(docstring, fault):
    def function(first: int, second: int) -> int:
        return first + second

    function.__doc__ = docstring
    assert any(fault in one for one in faults(function))


def test_the_reference_has_what_the_pages_import():
    packages = {one.__name__: set(one.__all__) for one in (partition, graph_io, solvers)}
    known = BUILD["public_names"]()
    imported = {
        (module, name.strip())
        for page in pages()
        for module, names in IMPORTED.findall((ROOT / page).read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    assert len(imported) > 20
    missing = {
        f"{module}.{name}"
        for module, name in imported
        if name not in packages[module.partition(".")[0]] and name not in known.get(module, ())
    }
    assert not missing, "tell of them in docs/reference/build.py"
