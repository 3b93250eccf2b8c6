"""The command ``dnn-partition emulate``: a slow link in front of a server, on this machine, without privileges."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partition.arguments import JsonOption
from partition.errors import InputError
from partition.links import DEFAULT_RTT_S, Link
from partition.terminal import console, show_json
from partition.units import format_bandwidth, format_duration, parse_bandwidth, parse_duration, parse_size

if TYPE_CHECKING:
    from partition.emulation.link import EmulatedLink


def emulate(
    to: Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="The server.", show_default=False)],
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where clients connect; port 0 takes a free one.")
    ] = "127.0.0.1:0",
    bandwidth: Annotated[
        str | None,
        typer.Option("--bandwidth", "-b", help="Uplink: 3g, 4g, wifi, or a rate such as 8.8Mbps.", show_default=False),
    ] = None,
    downlink: Annotated[
        str | None, typer.Option(help="Downlink rate.", show_default="preset's, or as uplink or its trace")
    ] = None,
    rtt: Annotated[str | None, typer.Option(help="Round trip, such as 40ms.", show_default="preset's, or 40ms")] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Uplink's recorded rate instead of --bandwidth.")
    ] = None,
    downlink_trace: Annotated[
        Path | None, typer.Option("--downlink-trace", metavar="FILE", help="Downlink's recorded rate.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="Of the traces: 'mahimahi', 'rows' (seconds and Mbit/s), or 'auto'.")
    ] = "auto",
    cold_start: Annotated[
        bool, typer.Option(help="New connections pay a round trip for the handshake and begin with a small window.")
    ] = True,
    queue: Annotated[str, typer.Option(metavar="SIZE", help="How much waits before each direction.")] = "256KiB",
    as_json: JsonOption = False,
) -> None:
    """Put a slow link in front of a server, until Ctrl-C."""
    from partition.emulation.proxy import Proxy

    host, port = _address(listen, "--listen")
    to_host, to_port = _address(to, "--to")
    link, assumptions = emulated_link(
        bandwidth=bandwidth, downlink=downlink, rtt=rtt, trace=trace, downlink_trace=downlink_trace, format=format
    )
    queue_bytes = parse_size(queue, what="--queue")
    with Proxy(to_host, to_port, link, host=host, port=port, cold_start=cold_start, queue_bytes=queue_bytes) as proxy:
        _show(proxy.host, proxy.port, to, link, assumptions, proxy.start_s, as_json=as_json)
        threading.Event().wait()


def emulated_link(
    *,
    bandwidth: str | None = None,
    downlink: str | None = None,
    rtt: str | None = None,
    trace: Path | None = None,
    downlink_trace: Path | None = None,
    format: str = "auto",
) -> tuple["EmulatedLink", tuple[str, ...]]:
    """Make the link that the options describe, and say what was assumed for what they leave out.

    Parameters
    ----------
    bandwidth, trace : str, path
        The uplink, by one of the two.
    downlink, downlink_trace : str, path, optional
        The downlink, by one of the two at most.
    rtt : str, optional
        The round trip.
    format : str
        Of the traces.

    Returns
    -------
    link : EmulatedLink
        On a real clock that begins now.
    assumptions : tuple of str

    Raises
    ------
    InputError
        Neither or both of two options, or one that cannot be read.
    """
    from partition.emulation.link import EmulatedLink
    from partition.emulation.profile import RateProfile
    from partition.emulation.traces import read_trace

    if (bandwidth is None) == (trace is None):
        raise InputError("the uplink is given by --bandwidth or by --trace; give one of the two")
    if downlink is not None and downlink_trace is not None:
        raise InputError("the downlink is given by --downlink or by --downlink-trace; give one of the two")
    down = None if downlink_trace is None else read_trace(downlink_trace, format)  # type: ignore[arg-type]
    if trace is not None:
        up = read_trace(trace, format)  # type: ignore[arg-type]
        assumptions = []
        if down is None and downlink is not None:
            down = RateProfile.constant(parse_bandwidth(downlink, what="--downlink"))
        if down is None:
            down = up
            assumptions.append("downlink = the uplink's trace (not given)")
        if rtt is None:
            assumptions.append(f"rtt {format_duration(DEFAULT_RTT_S)} (not given)")
        rtt_s = DEFAULT_RTT_S if rtt is None else parse_duration(rtt, what="--rtt")
        return EmulatedLink(up, down, delay_s=rtt_s / 2), tuple(assumptions)
    assert bandwidth is not None
    given = Link.parse(bandwidth, downlink=downlink, rtt=rtt)
    up = RateProfile.constant(given.uplink_bits_per_s)
    said = tuple(one for one in given.assumptions if down is None or not one.startswith("downlink "))
    return EmulatedLink(up, down or RateProfile.constant(given.downlink_bits_per_s), delay_s=given.rtt_s / 2), said


def _address(text: str, option: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
        raise InputError(f"{option} got {text!r}; write it as HOST:PORT, such as 127.0.0.1:8000")
    return host.strip("[]"), int(port)


def _show(
    host: str,
    port: int,
    to: str,
    link: "EmulatedLink",
    assumptions: tuple[str, ...],
    start_s: float,
    *,
    as_json: bool,
) -> None:
    up, down = (link.profiles[direction].mean_bits_per_s() for direction in ("uplink", "downlink"))
    rtt_s = 2 * link.delay_s
    if as_json:
        show_json(
            {
                "host": host,
                "port": port,
                "to": to,
                "mean_uplink_bits_per_s": up,
                "mean_downlink_bits_per_s": down,
                "rtt_s": rtt_s,
                "start_monotonic_s": start_s,
                "assumptions": list(assumptions),
            }
        )
        return
    shown = console()
    rates = f"{format_bandwidth(up)} up, {format_bandwidth(down)} down, rtt {format_duration(rtt_s)}"
    shown.print(f"emulated link from {host}:{port} to {to}: {rates}", soft_wrap=True)
    for one in assumptions:
        shown.print(f"assumed: {one}", soft_wrap=True)
    shown.print("Ctrl-C ends it", soft_wrap=True)
    shown.file.flush()
