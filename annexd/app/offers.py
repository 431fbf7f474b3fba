"""What a repository offers behind it: its nodes and clusters, for those who type commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from annexd.errors import Refused
from annexd.repo.git import Git
from annexd.router.configured import Configured
from annexd.router.inference import rank
from annexd.router.knowledge import Knowledge

_LOGS = (b"proxy.log", b"cluster.log")


@dataclass(frozen=True, slots=True)
class Offer:
    """
    A proxied repository or a cluster.  ``names`` are those in proxy.log, the
    best first; ``is_member``: it is a node of a cluster that is offered, too.
    """

    uuid: bytes
    names: tuple[str, ...]
    is_cluster: bool = False
    is_member: bool = False

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def known_as(self) -> tuple[str, ...]:
        """What rules, and users, may call it."""
        return (*self.names, os.fsdecode(self.uuid))


def offers(git_dir: bytes) -> list[Offer]:
    """
    By the git config and the git-annex branch, as they are now: clusters
    first, then by name.  Blocks; raises `Refused`.
    """
    git = Git(git_dir)
    try:
        settings = git.settings()
        texts = {name: git.branch_file(name) or b"" for name in _LOGS}
    finally:
        git.close()
    own = dict(settings).get(b"annex.uuid", b"")
    return _offered(own, Configured.of(settings), Knowledge.from_logs(texts))


def called(found: Sequence[Offer], name: str) -> Offer:
    """The one with this name or UUID.  Raises `Refused`."""
    for offer in found:
        if name in offer.known_as:
            return offer
    known = ", ".join(offer.name for offer in found) or "nothing; see `git annex updateproxy`"
    raise Refused(f"the repository offers no {name} behind it, but {known}")


def _offered(own: bytes, configured: Configured, knowledge: Knowledge) -> list[Offer]:
    listed: dict[bytes, list[str]] = {}
    for one in knowledge.proxies.get(own, ()):
        listed.setdefault(one.uuid, []).append(os.fsdecode(one.name))
    clusters = {uuid for uuid in configured.clusters.values() if uuid in listed}
    members = frozenset[bytes]().union(*(knowledge.members(uuid) for uuid in clusters))
    usable = {
        remote.uuid
        for remote in configured.remotes
        if remote.proxied and remote.name in listed.get(remote.uuid, ())
    }
    if any(remote.gateway_of for remote in configured.remotes):
        usable |= members
    found = [
        Offer(uuid, tuple(sorted(set(names), key=rank)), uuid in clusters, uuid in members)
        for uuid, names in listed.items()
        if uuid in clusters or uuid in usable
    ]
    return sorted(found, key=lambda offer: (not offer.is_cluster, rank(offer.name)))
