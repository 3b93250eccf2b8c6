"""The pages of the API reference, where pdoc is there (`make docs` installs it): complete, and without a network."""

import re
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT
from tests.docs.test_docstrings import BUILD

pytest.importorskip("pdoc")

# What a browser would fetch to show a page; a link that a reader may follow is none of it.
FETCHED = re.compile(r"""(?:src=|url\(|@import|<link[^>]+href=)\s*["']?(?:https?:)?//""")


def test_the_pages_show_what_is_public_and_fetch_nothing(tmp_path):
    command = [sys.executable, str(ROOT / "docs" / "reference" / "build.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = (tmp_path / "search.js").read_text(encoding="utf-8")
    for module, names in BUILD["public_names"]().items():
        page = (tmp_path / f"{module.replace('.', '/')}.html").read_text(encoding="utf-8")
        shown = set(re.findall(r'<section id="([\w.]+)"', page))
        assert shown == set(names), module
        assert not FETCHED.search(page)
        assert not re.search(r":\s*(</p>)?</li>", page), f"{module}: a colon with nothing behind it"
        assert all(f'"{module}.{name}"' in found for name in names if not name.startswith("_")), module
    pages = {str(page.relative_to(tmp_path).with_suffix("")).replace("/", ".") for page in tmp_path.rglob("*.html")}
    assert pages == {"index", *BUILD["public_names"]()}
