"""A page: one HTML file that holds all it shows, runs nothing, and reads well on a phone, in the dark and aloud."""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache

from partition.report.page.figure import FONT, NARROW, WIDE, Figure, Missing, Table, colour, colours
from partition.report.page.svg import safe, shortened

_CODE = re.compile("`([^`\n]+)`")


def page(
    name: str,
    sentence: str,
    facts: Iterable[tuple[str, str]],
    figures: Sequence[Figure | Missing],
    assumptions: Sequence[str],
    footer: str,
    *,
    what: str = "Plan",
) -> str:
    """Return a page as one HTML document; all texts are escaped here."""
    style = _style()
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    name = safe(shortened(name, 120))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{safe(what)} of {name}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        "<header>",
        f"<h1>{name}</h1>",
        f'<p class="sentence">{_prose(sentence)}</p>',
        f"<dl>{''.join(f'<div><dt>{safe(name)}</dt><dd>{_prose(value)}</dd></div>' for name, value in facts)}</dl>",
        f'<nav aria-label="Figures"><ul>{"".join(_link(one) for one in figures)}</ul></nav>',
        "</header>",
        "<main>",
        *(_section(one) for one in figures),
        _assumptions(assumptions),
        "</main>",
        f"<footer><p>{_prose(footer)}</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _prose(text: str) -> str:
    """Escape a sentence; what stands between two backticks is code. Names in tables are not sentences."""
    return _CODE.sub(r"<code>\1</code>", safe(text))


def _link(figure: Figure | Missing) -> str:
    return f'<li><a href="#{figure.kind}">{safe(figure.title)}</a></li>'


def _section(figure: Figure | Missing) -> str:
    head = f'<section id="{figure.kind}" aria-labelledby="{figure.kind}-head"><h2 id="{figure.kind}-head">'
    head += f"{safe(figure.title)}</h2>"
    if isinstance(figure, Missing):
        return f'{head}<p class="missing">Not shown: {_prose(figure.reason)}.</p></section>'
    pictures = "".join(
        figure.svg(width, identity=f"{figure.kind}-{name}", more=f' class="{name}"')
        for width, name in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    notes = "".join(f"<p>{_prose(one)}</p>" for one in figure.notes)
    tables = "".join(map(_table, figure.tables))
    label = f"Picture: {safe(figure.title)}"
    # Reached by keyboard, so that a tall picture can be scrolled without a mouse.
    box = f'<div class="picture" tabindex="0" role="region" aria-label="{label}">{pictures}</div>'
    details = f"<details><summary>The numbers</summary>{tables}</details>" if tables else ""
    caption = f"<figcaption><p>{_prose(figure.description)}</p>{notes}</figcaption>"
    return f"{head}<figure>{caption}{box}</figure>{details}</section>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{safe(one)}</th>' for one in table.headings)
    rows = "".join(
        f'<tr><th scope="row">{safe(row[0])}</th>{"".join(f"<td>{safe(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _assumptions(assumptions: Sequence[str]) -> str:
    if not assumptions:
        return ""
    items = "".join(f"<li>{_prose(one)}</li>" for one in assumptions)
    return f'<section id="assumed"><h2>Taken for granted</h2><ul class="assumed">{items}</ul></section>'


@cache
def _style() -> str:
    """Return the style of the page, the same for every plan."""

    def variables(dark: bool) -> str:
        names = ("paper", "ink", "muted", "rule", "soft", "device", "mark")
        return ":root{" + ";".join(f"--{name}:{colour(name, dark=dark)}" for name in names) + "}"

    return "\n".join(
        [
            variables(False),
            colours("svg", dark=False),
            f"@media (prefers-color-scheme: dark) {{\n{variables(True)}\n{colours('svg', dark=True)}\n}}",
            f"body{{margin:0 auto;max-width:{WIDE}px;padding:12px 16px 40px;background:var(--paper);color:var(--ink);"
            f"font:16px/1.5 {FONT};overflow-wrap:anywhere}}",
            f"svg{{font-family:{FONT};display:block}}",
            "h1{font-size:1.6rem;line-height:1.2;margin:.6em 0 .3em}",
            "h2{font-size:1.2rem;margin:2em 0 .3em;padding-top:.6em;border-top:1px solid var(--rule)}",
            ".sentence{font-size:1.1rem;margin:.4em 0 1em}",
            "dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:8px;margin:0}",
            "dl div{background:var(--soft);border-radius:6px;padding:8px 12px}",
            "dt{color:var(--muted);font-size:.8rem}",
            "dd{margin:0}",
            "code{font:.9em ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;background:var(--soft);"
            "border-radius:3px;padding:0 3px}",
            "nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;margin:1em 0 0}",
            "a{color:var(--device)}",
            ":focus-visible{outline:3px solid var(--mark);outline-offset:2px}",
            "figure{margin:0}",
            "figcaption p{margin:.3em 0}",
            "figcaption p+p,.missing,footer{color:var(--muted);font-size:.875rem}",
            ".picture{margin:.8em 0;overflow:auto;max-height:90vh}",
            ".narrow{display:none}",
            f"@media (max-width:{WIDE + 31}px){{.wide{{display:none}}.narrow{{display:block;margin:0 auto}}}}",
            "summary{cursor:pointer;padding:6px 0;color:var(--device)}",
            ".scroll{overflow-x:auto}",
            "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}",
            "th,td{padding:4px 10px 4px 0;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;"
            "white-space:nowrap}",
            "th:first-child{text-align:left;white-space:normal;min-width:9em;font-weight:400}",
            "thead th,thead th:first-child{font-weight:600;color:var(--muted)}",
            ".assumed{font-size:.875rem;padding-left:1.2em}",
            "@media print{.picture{max-height:none}details{display:block}}",
        ]
    )
