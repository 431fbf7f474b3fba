"""The network around a gateway, as its git config and its git-annex branch have it.  Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from annexd.router.configured import Configured, Remote
from annexd.router.inference import Entries, infer
from annexd.router.knowledge import Knowledge
from annexd.router.routes import Routes
from annexd.router.topology import Attached, Here, Neighbour, Network


@dataclass(frozen=True, slots=True)
class Chart:
    """What belongs together, so that nobody routes by one state and looks for the remotes in another."""

    configured: Configured
    knowledge: Knowledge
    routes: Routes

    @classmethod
    def empty(cls, uuid: bytes) -> Chart:
        return cls(Configured(), Knowledge.from_logs({}), Routes(Network(Here(uuid), {}, {})))

    @classmethod
    def drawn(cls, uuid: bytes, configured: Configured, texts: Mapping[bytes, bytes]) -> Chart:
        """
        ``texts`` are those of `annexd.router.knowledge.LOGS`.  For a thread:
        who may push can make proxy.log as long and as intricate as he likes.
        """
        knowledge = Knowledge.from_logs(texts)
        listed = {(one.uuid, os.fsdecode(one.name)) for one in knowledge.proxies.get(uuid, ())}
        here = here_of(uuid, configured, lambda remote: (remote.uuid, remote.name) in listed)
        members = {cluster: knowledge.members(cluster) for cluster in knowledge.clusters}
        return cls(configured, knowledge, Routes(infer(here, entries_of(knowledge), members)))


def here_of(uuid: bytes, configured: Configured, usable: Callable[[Remote], bool]) -> Here:
    """The gateway ``uuid`` itself, with those of its proxied remotes that are ``usable``."""
    clusters = {cluster: name for name, cluster in configured.clusters.items()}
    attached = tuple(
        Attached(
            remote.uuid,
            remote.name,
            remote.cost,
            frozenset(cluster for cluster, name in clusters.items() if name in remote.node_of),
        )
        for remote in configured.remotes
        if remote.proxied and usable(remote)
    )
    neighbours = tuple(
        Neighbour(remote.uuid, remote.name, remote.cost, remote.gateway_of)
        for remote in configured.remotes
        if remote.gateway_of
    )
    return Here(uuid, attached, neighbours, clusters)


def entries_of(knowledge: Knowledge) -> Entries:
    """proxy.log, as those read it who infer from it."""
    return {
        gateway: [(one.uuid, os.fsdecode(one.name)) for one in proxied]
        for gateway, proxied in knowledge.proxies.items()
    }
