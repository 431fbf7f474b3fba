"""
What a repository's git config makes of it as a gateway: its remotes, which of
them it proxies, and the clusters that it serves.  Pure.

The names and values are those that ``git annex initcluster``,
``updatecluster``, ``extendcluster`` and the user write; there is no other
configuration of proxies and clusters.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from annexd.router.rewriting import Rewrites

LOCAL_COST, REMOTE_COST = 100.0, 200.0
"""git-annex's, where ``annex-cost`` does not say otherwise."""

DEFAULT_JOBS = 16
"""Nodes that are dealt with at once where ``annex.jobs`` is not set: waiting for one must not add up."""

_MOST_JOBS = 64
_REMOTE = re.compile(rb"remote\.(.+)\.([^.]+)", re.DOTALL)
_CLUSTER = b"annex.cluster."
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:(//|:)")
_TRUE = (b"true", b"yes", b"on", b"1")


@dataclass(frozen=True, slots=True)
class Remote:
    """
    One git remote, or special remote (whose ``url`` is empty), that git-annex
    has a UUID for.  ``url`` is where git goes, see `annexd.router.rewriting`.
    """

    name: str
    uuid: bytes
    url: bytes
    cost: float
    proxied: bool = False
    """By ``annex-proxy``, or as the node of a cluster."""

    node_of: frozenset[str] = frozenset()
    """Names of clusters, see `Configured.clusters`."""

    gateway_of: frozenset[bytes] = frozenset()
    """UUIDs of clusters that it is another gateway of."""

    shell: bytes = b""
    """What to run there in place of git-annex-shell."""

    ssh_options: tuple[bytes, ...] = ()
    read_only: bool = False
    push_url: bytes = b""
    """Where git pushes."""

    written: tuple[bytes, bytes] = (b"", b"")
    """Its ``url`` and its ``pushurl`` as they stand in the git config."""

    services: tuple[bytes, bytes] = (b"git-upload-pack", b"git-receive-pack")
    """What git runs there, to fetch and to push."""

    @property
    def is_path(self) -> bool:
        """Whether it is on this machine's disks."""
        return is_path(self.url)


@dataclass(frozen=True, slots=True)
class Configured:
    """``remotes`` are in the order in which they are used: the cheapest first."""

    remotes: tuple[Remote, ...] = ()
    clusters: Mapping[str, bytes] = field(default_factory=dict)
    """Names of clusters to their UUIDs."""

    jobs: int = DEFAULT_JOBS

    @classmethod
    def of(cls, settings: Iterable[tuple[bytes, bytes]]) -> Configured:
        """``settings`` are names and values as `git config --list` prints them."""
        settings = list(settings)
        config, rewrites = dict(settings), Rewrites.of(settings)
        remotes = sorted(_remotes(config, rewrites), key=lambda remote: (remote.cost, remote.name))
        clusters = {
            os.fsdecode(name[len(_CLUSTER) :]): uuid
            for name, uuid in config.items()
            if name.startswith(_CLUSTER) and uuid
        }
        return cls(tuple(remotes), clusters, _jobs(config.get(b"annex.jobs", b"")))

    @property
    def is_gateway(self) -> bool:
        return bool(self.clusters) or any(remote.proxied for remote in self.remotes)

    def nodes_of(self, cluster: bytes) -> tuple[Remote, ...]:
        """The remotes that are this gateway's own nodes of a cluster."""
        names = {name for name, uuid in self.clusters.items() if uuid == cluster}
        return tuple(remote for remote in self.remotes if remote.node_of & names)

    def gateways_of(self, cluster: bytes) -> tuple[Remote, ...]:
        """The remotes that are neighbour gateways of a cluster."""
        return tuple(remote for remote in self.remotes if cluster in remote.gateway_of)


def is_path(url: bytes) -> bool:
    """As git tells it: no ``scheme://``, no ``helper::``, and no colon before the first slash."""
    if url.startswith(b"file://"):
        return True
    if not url or _URL.match(url):
        return False
    return b":" not in url.partition(b"/")[0]


def _remotes(config: Mapping[bytes, bytes], rewrites: Rewrites) -> list[Remote]:
    settings: dict[bytes, dict[bytes, bytes]] = {}
    for name, value in config.items():
        match = _REMOTE.fullmatch(name)
        if match is not None:
            settings.setdefault(match[1], {})[match[2].lower()] = value
    return [_remote(name, own, rewrites) for name, own in settings.items() if own.get(b"annex-uuid")]


def _remote(name: bytes, settings: Mapping[bytes, bytes], rewrites: Rewrites) -> Remote:
    written = settings.get(b"url", b""), settings.get(b"pushurl", b"")
    url = rewrites.fetched(written[0])
    nodes = settings.get(b"annex-cluster-node", b"").split()
    options = settings.get(b"annex-ssh-options", b"")
    return Remote(
        name=os.fsdecode(name),
        uuid=settings[b"annex-uuid"],
        url=url,
        cost=_cost(settings.get(b"annex-cost", b""), LOCAL_COST if is_path(url) else REMOTE_COST),
        proxied=_flag(settings, b"annex-proxy") or bool(nodes),
        node_of=frozenset(map(os.fsdecode, nodes)),
        gateway_of=frozenset(settings.get(b"annex-cluster-gateway", b"").split()),
        shell=settings.get(b"annex-shell", b""),
        ssh_options=_words(options),
        read_only=_flag(settings, b"annex-readonly"),
        push_url=rewrites.pushed(*written),
        written=written,
        services=(
            settings.get(b"uploadpack", b"git-upload-pack"),
            settings.get(b"receivepack", b"git-receive-pack"),
        ),
    )


def _flag(settings: Mapping[bytes, bytes], name: bytes) -> bool:
    return settings.get(name, b"").lower() in _TRUE


def _cost(text: bytes, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default


def _jobs(text: bytes) -> int:
    if text == b"cpus":
        return max(1, min(os.cpu_count() or 1, _MOST_JOBS))
    return max(1, min(int(text), _MOST_JOBS)) if text.isdigit() else DEFAULT_JOBS


def _words(text: bytes) -> tuple[bytes, ...]:
    try:
        return tuple(map(os.fsencode, shlex.split(os.fsdecode(text))))
    except ValueError:  # a quotation that does not end
        return tuple(text.split())
