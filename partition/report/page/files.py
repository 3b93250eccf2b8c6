"""Figures and pages as files: SVG, PNG where a converter is installed, HTML; whole or not at all."""

import os
from pathlib import Path

from partition.errors import InputError
from partition.files import draft_of
from partition.plan import FigureKind, Plan
from partition.report.page.evidence import Study
from partition.report.page.figure import WIDE, Figure, Missing
from partition.report.page.figures import figure_of
from partition.report.page.measured import Measured

_PNG_ZOOM = 2


def plot(
    plan: Plan, kind: FigureKind, path: Path | None, *, measured: "Measured | None" = None, overwrite: bool = False
) -> str:
    """Draw one figure and write it, if a path is given; parameters and errors as of `Plan.plot`."""
    check_figure_file(path, overwrite=overwrite)
    figure = figure_of(Study(plan), kind, measured)
    if isinstance(figure, Missing):
        raise InputError(f"figure '{kind}' cannot be drawn: {figure.reason}")
    return write_figure(figure, path)


def check_figure_file(path: Path | None, *, overwrite: bool) -> None:
    """Refuse, before the work, a file that no figure can be written to."""
    if path is None:
        return
    if path.suffix not in (".svg", ".png"):
        raise InputError(f"figure '{path}': the ending '{path.suffix}' is unknown; use .svg or .png")
    check_new(path, "figure", overwrite=overwrite)


def write_figure(figure: Figure, path: Path | None) -> str:
    """Return a figure as SVG; write it, or a PNG of it, if a path is given."""
    svg = figure.alone()
    if path is not None:
        write_file(path, _png(figure.alone(dark_too=False), path) if path.suffix == ".png" else svg.encode(), "figure")
    return svg


def _png(svg: str, path: Path) -> bytes:
    try:
        import resvg_py  # type: ignore[import-not-found, unused-ignore]  # an extra, without types
    except ModuleNotFoundError as missing:
        raise InputError(
            f"figure '{path}': PNG needs the package resvg_py, which is not installed; install the extra 'plot', or "
            "write an .svg"
        ) from missing
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=_PNG_ZOOM * WIDE))


def check_new(path: Path, what: str, *, overwrite: bool) -> None:
    """Refuse, before the work, a file that exists and is not to be replaced, or that can be none."""
    if path.is_dir():
        raise InputError(f"{what} '{path}' is a folder; give the path of a file")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{what} '{path}' exists; choose another, or pass overwrite=True")


def write_file(path: Path, content: bytes, what: str) -> None:
    """Write a file, which appears whole or not at all."""
    try:
        with draft_of(path) as draft, draft.open("xb") as stream:
            stream.write(content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"{what} '{path}' cannot be written: {reason}; "
            "give the path of a file in an existing folder that you may write to"
        ) from error
