"""The daemon's status, for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB")


def status(document: dict[str, Any]) -> str:
    """What `annexd status` prints; ends with a LF."""
    lines = [f"annexd {document['version']}, process {document['pid']}, up {duration(document['uptime'])}"]
    lines += [f"listens on {listener}" for listener in document["listeners"]]
    lines.append("")
    lines += section("no repository is open", ("REPOSITORY", "USES"), _repositories(document))
    lines.append("")
    heads = ("SESSION", "USER", "REPOSITORY", "BY", "SINCE", "REQUESTS", "NOW")
    lines += section("no session is open", heads, _sessions(document))
    if document.get("nodes"):
        lines.append("")
        lines += section("", ("NODE", "GATEWAY", "STATE", "SINCE", "WHY"), _nodes(document))
    return "\n".join(lines) + "\n"


def _repositories(document: dict[str, Any]) -> list[tuple[str, ...]]:
    return [(r["path"], str(r["uses"])) for r in document["repositories"]]


def _sessions(document: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"#{s['id']}",
            s["principal"] or "-",
            s["repository"],
            s["transport"],
            duration(s["since"]),
            str(s["requests"]),
            _doing(s),
        )
        for s in document["sessions"]
    ]


def _nodes(document: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (node["name"], node["gateway"], node["health"], moment(node["since"]), node["reason"])
        for node in document["nodes"]
    ]


def moment(seconds: float) -> str:
    """Since 1970, as the local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _doing(session: dict[str, Any]) -> str:
    """As in ``PUT SHA256E-... 12.0 MB of 3.0 GB, 210.0 MB/s``."""
    if not session["verb"]:
        return "idle"
    text = f"{session['verb']} {session['key']}".strip()
    if session["bytes"] or session["total"]:
        text += f" {size(session['bytes'])}"
        if session["total"] is not None:
            text += f" of {size(session['total'])}"
        text += f", {size(session['rate'])}/s"
    return f"{text} for {duration(session['seconds'])}"


def section(nothing: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table, or one with ``nothing``."""
    if not rows:
        return [nothing]
    table = [heads, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def size(count: float) -> str:
    """Bytes, in powers of a thousand."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.0f}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02}h"
