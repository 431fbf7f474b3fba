"""Which nodes a cluster has: what `annexd cluster update` writes to cluster.log.  Pure."""

from __future__ import annotations

from annexd.router import logs
from annexd.router.inference import Entries
from annexd.router.topology import Here


def members_after(text: bytes, cluster: bytes, here: Here, entries: Entries) -> frozenset[bytes]:
    """
    The nodes that this gateway's git config names, and those that are on
    record (cluster.log is ``text``, all edits of a merge count) as long as
    another gateway (``entries`` is proxy.log) has a way to them that does not
    end here.  So every gateway answers for its own nodes, and an edit of one
    does not undo that of another.
    """
    own = {node.uuid for node in here.nodes if cluster in node.clusters}
    recorded = {uuid for value in logs.every(text, cluster) for uuid in value.split()}
    called = _names_here(here, entries)
    elsewhere = {
        uuid
        for gateway, listed in entries.items()
        if gateway != here.uuid
        for uuid, name in listed
        if not any(name.endswith("-" + ours) for ours in called.get(uuid, ()))
    }
    return frozenset(own | (recorded & elsewhere))


def _names_here(here: Here, entries: Entries) -> dict[bytes, set[str]]:
    """How this gateway calls, or has called, its own nodes: others have a name of theirs in front of it."""
    names: dict[bytes, set[str]] = {}
    for node in here.nodes:
        names.setdefault(node.uuid, set()).add(node.name)
    neighbours = tuple(f"{neighbour.name}-" for neighbour in here.neighbours)
    for uuid, name in entries.get(here.uuid, ()):
        if not name.startswith(neighbours):
            names.setdefault(uuid, set()).add(name)
    return names
