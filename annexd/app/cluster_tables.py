"""What the daemon says of clusters, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from annexd.app.tables import duration, moment, section, size

_HEADS = ("", "STATE", "COST", "KEYS", "SIZE", "MAXSIZE", "FREE ON DISK")


def status(document: dict[str, Any], now: float) -> str:
    """What `annexd cluster status` prints; ends with a LF."""
    parts = ["\n".join(_gateway(gateway, now)) for gateway in document["gateways"]]
    return "\n\n".join(parts or ["no gateway is served"]) + "\n"


def _gateway(gateway: dict[str, Any], now: float) -> Iterator[str]:
    yield f"{gateway['path']}  {gateway['description']}".rstrip()
    for cluster in gateway["clusters"]:
        yield ""
        yield from _cluster(cluster, gateway["uuid"], now)
    if gateway["proxied"]:
        yield ""
        yield "proxied by themselves"
        yield from _rows([_row(1, node, now) for node in gateway["proxied"]])
        yield from _reasons(gateway["proxied"])
    if not gateway["counted"]:
        yield ""
        yield "there are too many keys to count them quickly; --count takes the time"


def _cluster(cluster: dict[str, Any], here: str, now: float) -> Iterator[str]:
    nodes = cluster["nodes"]
    count = len(nodes) + len(cluster["unreached"])
    ailing = [node for node in nodes if node.get("health", "up") != "up"]
    said = f"cluster {cluster['name']}  {cluster['uuid']}  {count} node{'' if count == 1 else 's'}"
    yield f"{said}, {len(ailing)} not well" if ailing else said
    if not cluster["listed"]:
        yield "  not in proxy.log, so nobody can use it: see `annexd cluster update`"
    yield from _rows(list(_tree(cluster, here, 1, now)))
    yield from _reasons([*nodes, *cluster["gateways"]])
    for node in cluster["unreached"]:
        yield f"  {node['name']}: no way to it is known"


def _tree(cluster: dict[str, Any], uuid: str, depth: int, now: float) -> Iterator[tuple[str, ...]]:
    gateway = next(one for one in cluster["gateways"] if one["uuid"] == uuid)
    yield _row(depth, gateway, now, "gateway ")
    for node in cluster["nodes"]:
        if node["gateway"] == uuid:
            yield _row(depth + 1, node, now)
    for other in cluster["gateways"]:
        if other["before"] == uuid:
            yield from _tree(cluster, other["uuid"], depth + 1, now)


def _row(depth: int, place: dict[str, Any], now: float, kind: str = "") -> tuple[str, ...]:
    return (
        "  " * depth + kind + place["name"],
        _state(place, now),
        f"{place['cost']:.0f}" if place["cost"] else "-",
        _told(place.get("keys")),
        _bytes(place.get("bytes")),
        _bytes(place.get("maxsize") or None),
        _disk(place),
    )


def _rows(rows: list[tuple[str, ...]]) -> list[str]:
    return section("  no node can be reached", _HEADS, rows)


def _state(place: dict[str, Any], now: float) -> str:
    """As in ``down for 3m10s``; of what is behind a neighbour that one's is told."""
    if "health" not in place:
        if not place.get("way", True):
            return "no way"
        behind = place.get("behind")
        return f"behind {behind['name']}, {behind['health']}" if behind else "here"
    if place["health"] == "up":
        latency = place["latency"]
        return "up" if latency is None else f"up, {latency * 1000:.1f} ms"
    return f"{place['health']} for {duration(max(0.0, now - place['since']))}"


def _reasons(places: list[dict[str, Any]]) -> Iterator[str]:
    for place in places:
        if place.get("health", "up") != "up":
            since = moment(place["since"])
            yield f"  {place['name']}: {place['health']} since {since}: {place['reason']}"


def _told(count: int | None) -> str:
    return "-" if count is None else str(count)


def _bytes(count: int | None) -> str:
    return "-" if count is None else size(count)


def _disk(place: dict[str, Any]) -> str:
    if "disk_free" not in place:
        return "-"
    return f"{size(place['disk_free'])} of {size(place['disk_size'])}"


def progress(found: dict[str, Any]) -> str:
    """One line."""
    said = f"{found['keys']} keys looked at, {found['copies']} copies made, {size(found['bytes'])}"
    failures = f", {found['failures']} failures" if found["failures"] else ""
    return f"{said}{failures}, {duration(found['seconds'])}"


def repaired(found: dict[str, Any]) -> str:
    """What `annexd cluster repair` prints at the end; ends with a LF."""
    return "\n".join(_repaired(found)) + "\n"


def _repaired(found: dict[str, Any]) -> Iterator[str]:
    would = "would get" if found["dry_run"] else "got"
    how = {"done": "", "stopped": "stopped: ", "failed": "failed: ", "running": "under way: "}[found["state"]]
    looked = f"{found['keys']} keys looked at, {found['lacking']} of them lacking somewhere"
    yield f"{how}{looked}, in {duration(found['seconds'])}"
    for node in found["nodes"]:
        yield f"  {node['name']} {would} {node['copies']} keys, {size(node['bytes'])}"
    if found["trouble"]:
        yield found["trouble"]
    if found["failures"]:
        yield f"{found['failures']} could not be completed:"
        for reason in found["reasons"]:
            yield f"  {reason['count']} times: {reason['reason']}"
        for example in found["examples"][:5]:
            yield f"  for example {example['key']}"


def explained(document: dict[str, Any]) -> str:
    """What `annexd route explain` prints; ends with a LF."""
    return "\n".join(_explained(document)) + "\n"


def _explained(document: dict[str, Any]) -> Iterator[str]:
    file = f", {document['file']}" if document["file"] else ""
    yield f"{document['key']}{file} in cluster {document['cluster']}"
    yield ""
    yield from document["tree"]
    yield ""
    yield f"to be kept, it goes to: {document['put']['reason']}"
    rows = [(f"  {n['name']}", "yes" if n["chosen"] else "no", n["why"]) for n in document["put"]["nodes"]]
    yield from section("  no node can be reached", ("  NODE", "GETS IT", "WHY"), rows)
    yield ""
    yield "wanted, it is asked for in this order:"
    asked = [(f"  {n['name']}", ", ".join(n["holds"]) or "nothing known", n["why"]) for n in document["get"]]
    yield from section("  nobody can be asked", ("  REMOTE", "HAS IT BY THE LOG", "WHY HERE"), asked)
