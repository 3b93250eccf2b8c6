"""Links between pages lead somewhere, and the index names every page."""

import re

import pytest

from tests.docs.blocks import ROOT, pages, path_of

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose_of(page):
    return re.sub(r"^ *```.*?^ *```", "", path_of(page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchor_of(heading):
    """Return the anchor that a viewer of Markdown makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


def anchors_of(path):
    return {anchor_of(line.lstrip("#")) for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"}


@pytest.mark.parametrize("page", [*pages(), "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    for link in _LINK.findall(prose_of(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (path_of(page).parent / name).resolve() if name else path_of(page)
        assert target.exists(), f"{page} links to {link}"
        assert target.is_relative_to(ROOT), f"{page} links to {link}, outside of the repository"
        if anchor:
            assert anchor in anchors_of(target), f"{page} links to {link}: no such heading"


def test_the_index_names_every_page():
    index = path_of("docs/README.md")
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(prose_of("docs/README.md"))}
    # A folder with an index of its own is named by that.
    nested = {path.parent for path in index.parent.rglob("README.md")} - {index.parent}
    for page in pages()[1:]:
        path = path_of(page).resolve()
        own_index = path.parent in nested and path.name != "README.md"
        assert own_index or path == index or path in linked, f"{page} is not in docs/README.md"
