"""`annexd cluster update`: what `git annex updatecluster` does, with one name for each node."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from annexd.app.charts import entries_of
from annexd.app.estate import Estate
from annexd.app.logs import clean
from annexd.app.unusable import Unusable
from annexd.errors import Refused
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.inference import legal
from annexd.router.knowledge import LOGS, Knowledge, Proxied, cluster_log_with, proxy_log_with
from annexd.router.membership import members_after
from annexd.router.naming import proxied_names

_CLUSTERS, _PROXIES = b"cluster.log", b"proxy.log"


async def update(repository: Repository, estate: Estate) -> dict[str, Any]:
    """
    Bring cluster.log and this gateway's line of proxy.log up to date with its
    git config and with what other gateways say.  ``changes`` are sentences,
    none where nothing was to be done, ``warnings`` those on what will not work.
    """
    if not estate.configured.is_gateway:
        raise Refused("the repository is no gateway: it proxies nothing, see `git annex initcluster`")
    if repository.settings.is_private(repository.uuid):
        raise Refused("the repository is private (annex.private), so others cannot know it as a gateway")
    changes = await _Update(repository, estate).run()
    return {"changes": changes, "warnings": _warnings(estate)}


class _Update:
    def __init__(self, repository: Repository, estate: Estate) -> None:
        self._repository = repository
        self._estate = estate
        self._here = estate.intended()
        self._whereabouts = Whereabouts(repository)
        self._changes: list[str] = []

    async def run(self) -> list[str]:
        for cluster, name in sorted(self._here.clusters.items(), key=lambda item: item[1]):
            await self._write_members(cluster, name)
        await self._write_names()
        if self._changes:
            await self._repository.flush()
            self._estate.forget()
            await self._estate.refresh(self._repository)
        return self._changes

    async def _write_members(self, cluster: bytes, name: str) -> None:
        knowledge = await self._knowledge()
        before = knowledge.clusters.get(cluster, frozenset())
        after = before

        def change(text: bytes, now: float) -> bytes:
            nonlocal after
            found = members_after(text, cluster, self._here, entries_of(knowledge))
            after = self._public(found)
            return cluster_log_with(text, cluster, after, now)

        if await self._whereabouts.rewrite(_CLUSTERS, change):
            self._changes += [f"{name} has the node {self._called(uuid)}" for uuid in sorted(after - before)]
            gone = sorted(before - after)
            self._changes += [f"{name} has the node {self._called(uuid)} no longer" for uuid in gone]

    async def _write_names(self) -> None:
        knowledge = await self._knowledge()
        names = proxied_names(self._here, entries_of(knowledge), knowledge.clusters)
        public = self._public(frozenset(uuid for uuid, _ in names))
        wanted = [Proxied(uuid, os.fsencode(name)) for uuid, name in names if uuid in public]
        before = _by_name(knowledge.proxies.get(self._estate.uuid, ()))

        def change(text: bytes, now: float) -> bytes:
            return proxy_log_with(text, self._estate.uuid, wanted, now)

        if await self._whereabouts.rewrite(_PROXIES, change):
            after = _by_name(wanted)
            self._changes += [
                f"{name} is proxied" for name in sorted(after) if before.get(name) != after[name]
            ]
            gone = sorted(set(before) - set(after))
            self._changes += [f"{name} is proxied under this name no longer" for name in gone]

    async def _knowledge(self) -> Knowledge:
        return Knowledge.from_logs(await self._whereabouts.texts(LOGS))

    def _public(self, uuids: frozenset[bytes]) -> frozenset[bytes]:
        """What is private is not for others to know."""
        return frozenset(uuid for uuid in uuids if not self._repository.settings.is_private(uuid))

    def _called(self, uuid: bytes) -> str:
        return clean(self._estate.describe(uuid))


def _by_name(proxied: Iterable[Proxied]) -> Mapping[str, bytes]:
    return {clean(one.name): one.uuid for one in proxied}


def _warnings(estate: Estate) -> list[str]:
    """git-annex takes such nodes without a word, so they are taken, too."""
    said = []
    configured = estate.configured
    for remote in configured.remotes:
        if not remote.proxied:
            continue
        name = clean(remote.name)
        if not legal(remote.name):
            said.append(f"{name} is no name that git-annex proxies a remote under")
        node = estate.node(remote, remote.uuid)
        if isinstance(node, Unusable):
            said.append(f"{name} cannot be used by annexd: {node.reason}")
        for cluster in sorted(remote.node_of - set(configured.clusters)):
            said.append(
                f"{name} is to be a node of {clean(cluster)}, which `git annex initcluster` has not made"
            )
    return said
