"""Draw the README's picture: what every single-tensor cut of a network costs, leg by leg.

``python -m benchmarks.picture docs/alexnet-wifi.svg`` writes it anew from the shipped machines and the Wi-Fi preset.
"""

import sys
from html import escape
from pathlib import Path

from graph_io import light_model, load_graph, single_tensor_cuts
from partition import Plan, partition

_COLOURS = {"device": "#4c78a8", "uplink": "#f2a65a", "server": "#59a14f", "downlink": "#e0c068"}
_ROW, _BAR, _LEFT, _TOP, _PLOT = 24, 16, 245, 66, 490


def bars(model: str, bandwidth: str) -> list[tuple[str, dict[str, float], bool]]:
    """Price every single-tensor cut: label, seconds by leg, and whether it is the optimum."""
    graph = load_graph(light_model(model))
    best = partition(graph, bandwidth)
    rows = []
    for tensor in single_tensor_cuts(graph):
        plan = partition(graph, bandwidth, cut=[tensor])
        rows.append((_label(graph.graph["tensors"][tensor].producer, plan), _legs(plan), plan.cut == best.cut))
    return rows


def _label(layer: str | None, plan: Plan) -> str:
    if layer is None:
        return "input: all on the server"
    operators = plan.source.nodes[layer]["layer"].op_types if not isinstance(plan.source, Path) else ()
    label = f"after {layer} {'+'.join(operators)}"
    return f"{label}: all on the device" if not plan.messages else label


def _legs(plan: Plan) -> dict[str, float]:
    estimate = plan.estimates[0]
    return {leg: getattr(estimate, f"{leg}_s") for leg in _COLOURS}


def svg(title: str, rows: list[tuple[str, dict[str, float], bool]]) -> str:
    """Lay the bars out as a stand-alone SVG."""
    longest = max(sum(legs.values()) for _, legs, _ in rows)
    width, height = _LEFT + _PLOT + 90, _TOP + _ROW * len(rows) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="600" fill="#222222">{escape(title)}</text>',
    ]
    for index, (leg, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + index * 100
        lines.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 17}" y="49" fill="#444444">{leg}</text>')
    for index, (label, legs, best) in enumerate(rows):
        y = _TOP + index * _ROW
        weight = ' font-weight="700"' if best else ""
        lines.append(
            f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#222222"{weight}>{escape(label)}</text>'
        )
        end = float(_LEFT)
        for leg, colour in _COLOURS.items():
            length = legs[leg] / longest * _PLOT
            if length > 0:
                lines.append(f'<rect x="{end:.1f}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
            end += length
        total = f"{sum(legs.values()) * 1e3:.0f} ms{' (best)' if best else ''}"
        lines.append(f'<text x="{end + 6:.1f}" y="{y + 12}" fill="#222222"{weight}>{total}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Write the picture to the path given."""
    rows = bars("bvlc_alexnet", "wifi")
    title = "AlexNet, Raspberry Pi 4 and a server over Wi-Fi: predicted latency of each cut"
    Path(sys.argv[1]).write_text(svg(title, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
