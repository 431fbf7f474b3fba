"""
What one repository proxies: its nodes, its clusters, and the ways to them, as
its git config and its git-annex branch have it now.

It outlives the sessions, so that connections stay warm and what was learnt of
the nodes is not forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Callable

from annexd.app.charts import Chart, here_of
from annexd.app.fullness import Fullness
from annexd.app.other_addresses import as_asked
from annexd.app.unusable import Unusable
from annexd.app.weighing import Weighing
from annexd.errors import Refused
from annexd.node import Node
from annexd.protocol.codec import decode_file
from annexd.protocol.keys import Key
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.clusters import is_cluster
from annexd.router.configured import Configured, Remote
from annexd.router.inference import rank
from annexd.router.knowledge import LOGS, Knowledge
from annexd.router.metadata import current
from annexd.router.ports import Way, Wish
from annexd.router.preferred import Judge, Question
from annexd.router.routes import Branch, Plan, suspects
from annexd.router.topology import Edge, Here
from annexd.router.uploads import Uploads
from annexd.router.weights import Weights

_FRESH_S = 1.0
"""For so long what was read of the branch is not read again."""

_AVOIDED_S = 60.0
"""For so long a link elsewhere that seems to be down is not used where there is another way."""

_MOST_SLICES = 3
"""Of a large merge, for which a session waits."""

_METADATA, _BALANCED = b"metadata=", b"balanced="
_EXPRESSIONS = (b"preferred-content.log", b"required-content.log", b"group-preferred-content.log")

MakeNode = Callable[[Remote, bytes], Node]
"""The node that is reached by a remote, when this UUID is asked for there."""


class Estate:
    """``make`` makes the nodes; they are kept for as long as their remotes stay as they are."""

    def __init__(self, uuid: bytes, clock: Any, make: MakeNode) -> None:
        self.uuid = uuid
        self.uploads = Uploads(clock)
        self.fullness = Fullness(clock)
        self.asks_for_sizes = False
        self.asks_for_metadata = False
        self._chart = Chart.empty(uuid)
        self._judge: Judge | None = None
        self._clock = clock
        self._make = make
        self._nodes: dict[tuple[Remote, bytes], Node] = {}
        self._weighing = Weighing()
        self._found: dict[bytes, tuple[object, Sequence[Way]]] = {}
        """By the cluster, the last ways, and under what circumstances they are good."""
        self._avoided: dict[Edge, float] = {}  # until when
        self._asked: dict[tuple[Remote, bytes], Remote] = {}
        self._stamp: object = None
        self._texts: Mapping[bytes, bytes] = {}
        self._read_at = float("-inf")

    # --- what there is ---------------------------------------------------------

    @property
    def configured(self) -> Configured:
        return self._chart.configured

    @property
    def knowledge(self) -> Knowledge:
        return self._chart.knowledge

    def forget(self) -> None:
        """What was read a moment ago has been changed since."""
        self._read_at = float("-inf")

    async def refresh(self, repository: Repository) -> None:
        """Notice what has changed; at most once a second, as sessions ask for it often."""
        stamp = repository.parts.stamp
        if stamp == self._stamp and self._clock.seconds() < self._read_at + _FRESH_S:
            return
        self._read_at = self._clock.seconds()
        whereabouts = Whereabouts(repository)
        configured = self.configured
        if stamp != self._stamp:
            configured = Configured.of(await whereabouts.settings())
        texts: Mapping[bytes, bytes] = {}
        if configured.is_gateway:
            await repository.take_in(_MOST_SLICES)
            texts = await whereabouts.texts(LOGS)
        if stamp != self._stamp or texts != self._texts:
            chart = await repository.workers.bulk.run(Chart.drawn, self.uuid, configured, texts)
            self._stamp, self._texts = stamp, texts
            self._use(chart)

    def _use(self, chart: Chart) -> None:
        self._chart = chart
        self._judge = None
        self._found.clear()
        expressions = b"".join(self._texts.get(name, b"") for name in _EXPRESSIONS)
        self.asks_for_metadata = _METADATA in expressions
        self.asks_for_sizes = _BALANCED in expressions and bool(self.knowledge.maxsizes)
        used = set(self.configured.remotes)
        for key, asked in list(self._asked.items()):
            if key[0] not in used or self._as_asked(*key) != asked:
                del self._asked[key]
                self._nodes.pop(key).close()

    def intended(self) -> Here:
        """This gateway as the git config has it, whether proxy.log says so yet or not."""
        return here_of(self.uuid, self.configured, lambda remote: True)

    def neighbours(self) -> tuple[str, ...]:
        """The remotes that are other gateways of our clusters."""
        return tuple(remote.name for remote in self.configured.remotes if remote.gateway_of)

    def describe(self, uuid: bytes) -> str:
        """What a repository or a cluster is called here, for people."""
        if uuid == self.uuid:
            return "this gateway"
        own = [remote.name for remote in self.configured.remotes if remote.uuid == uuid]
        names = [*own, *self._clusters_called(uuid)] or self.names(uuid)
        if names:
            return min(names, key=rank)
        return (self.knowledge.descriptions.get(uuid) or uuid).decode("utf-8", "replace")

    def cluster_called(self, name: str) -> bytes:
        """By its name, or its UUID; without either the only one.  Raises `Refused`."""
        clusters = self.configured.clusters
        if not clusters:
            raise Refused("the repository is no gateway of a cluster; see `git annex initcluster`")
        if not name and len(set(clusters.values())) == 1:
            return next(iter(clusters.values()))
        known = ", ".join(sorted(clusters))
        if not name:
            raise Refused(f"the gateway has several clusters, so say which: {known}")
        for called, uuid in clusters.items():
            if name in (called, uuid.decode("ascii", "replace")):
                return uuid
        raise Refused(f"the gateway has no cluster {name}, but {known}")

    def known_nodes(self) -> Mapping[Remote, list[Node]]:
        """Those that were used so far, by their remotes; behind a gateway there may be several."""
        found: dict[Remote, list[Node]] = {}
        for (remote, _), node in self._nodes.items():
            found.setdefault(remote, []).append(node)
        return found

    def judge(self) -> Judge:
        """By what is known now, of the sizes of repositories too."""
        if self.asks_for_sizes:
            return Judge(self.knowledge, self.fullness.sizes)
        if self._judge is None:
            self._judge = Judge(self.knowledge, {})
        return self._judge

    def whereabouts(self, repository: Repository) -> Whereabouts:
        """The location log, as sessions use it."""
        return Whereabouts(repository, self.fullness.note)

    # --- what is proxied ---------------------------------------------------------

    def names(self, uuid: bytes) -> tuple[str, ...]:
        """Those by which proxy.log has it for this gateway; without one it is not proxied."""
        return tuple(
            os.fsdecode(one.name) for one in self.knowledge.proxies.get(self.uuid, ()) if one.uuid == uuid
        )

    def ruled_as(self, uuid: bytes) -> tuple[str, ...]:
        """
        The names by which rules know it.  For what is our own these are the git
        config's: whoever may push could give it any other in proxy.log.
        """
        own = [remote.name for remote in self.configured.remotes if remote.proxied and remote.uuid == uuid]
        return (*own, *self._clusters_called(uuid)) or self.names(uuid)

    def _clusters_called(self, uuid: bytes) -> list[str]:
        return [name for name, cluster in self.configured.clusters.items() if cluster == uuid]

    def is_cluster(self, uuid: bytes) -> bool:
        """Whether it is a cluster that this gateway serves, by its config and by the branch."""
        return is_cluster(uuid) and uuid in self.configured.clusters.values() and bool(self.names(uuid))

    def way_to(self, uuid: bytes) -> Way | None:
        """To one repository by itself; `None` where none is configured."""
        if not self.names(uuid):
            return None
        plan = self._chart.routes.path_to(uuid, (), self.weights(), self._avoid())
        ways = self._ways(plan, lambda branch: uuid)
        return ways[0] if ways else None

    def ways(self, cluster: bytes, bypass: tuple[bytes, ...]) -> Sequence[Way]:
        """See `annexd.router.ports.Ways`."""
        circumstances = bypass, self.weights()
        known = self._found.get(cluster)
        if known is not None and known[0] == circumstances and not self._avoided:
            return known[1]
        plan = self.plan(cluster, bypass)
        ways = self._ways(plan, lambda branch: cluster if branch.is_gateway else branch.uuid)
        if not (self._avoided or any(isinstance(way.node, Unusable) for way in ways)):
            self._found[cluster] = circumstances, ways
        return ways

    def plan(self, cluster: bytes, bypass: tuple[bytes, ...] = ()) -> Plan:
        """Where a request has come from another gateway, that one sees to it that all is reached."""
        avoid = frozenset[Edge]() if bypass else self._avoid()
        return self._chart.routes.plan(cluster, bypass, self.weights(), avoid=avoid)

    def _ways(self, plan: Plan, asked: Callable[[Branch], bytes]) -> list[Way]:
        remotes = {remote.name: remote for remote in self.configured.remotes}
        return [
            Way(
                self.node(remotes[one.name], asked(one)),
                one.reaches,
                one.cost,
                one.bypass,
                partial(self._suspect, plan, one),
                plan.unsure if one.is_gateway else frozenset(),
            )
            for one in plan.branches
        ]

    def _suspect(self, plan: Plan, branch: Branch, missed: frozenset[bytes]) -> None:
        """A link behind the neighbour may be down; where there is another way, it is taken for a while."""
        if plan.usable.bypass or plan.plane.network is not self._chart.routes.network:
            return
        reached = {node for one in plan.branches for node in one.reaches} - missed
        until = self._clock.seconds() + _AVOIDED_S
        for edge in suspects(plan, reached, (branch.uuid,)):
            self._avoided[edge] = until

    def _avoid(self) -> frozenset[Edge]:
        if self._avoided:
            now = self._clock.seconds()
            self._avoided = {edge: until for edge, until in self._avoided.items() if until > now}
        return frozenset(self._avoided)

    def node(self, remote: Remote, uuid: bytes) -> Node:
        known = self._nodes.get((remote, uuid))
        if known is None:
            asked = self._as_asked(remote, uuid)
            known = self._make(asked, uuid)
            if not isinstance(known, Unusable):  # what it lacks may come
                self._nodes[remote, uuid] = known
                self._asked[remote, uuid] = asked
        return known

    def _as_asked(self, remote: Remote, uuid: bytes) -> Remote:
        return as_asked(remote, uuid, self.configured.remotes)

    def close(self) -> None:
        """End all connections, and what counts."""
        self.fullness.call_off()
        for node in self._nodes.values():
            node.close()
        self._nodes.clear()
        self._asked.clear()
        self._found.clear()

    def weights(self) -> Weights:
        """How the remotes fare."""
        return self._weighing.of(self._nodes)


class EstateWishes:
    """See `annexd.router.ports.Wishes`."""

    def __init__(self, estate: Estate, repository: Repository) -> None:
        self._estate = estate
        self._repository = repository

    async def of(
        self, key: Key, file: bytes, uuids: Sequence[bytes], holders: frozenset[bytes]
    ) -> Mapping[bytes, Wish]:
        await self._estate.refresh(self._repository)
        judge = self._estate.judge()
        metadata: Mapping[bytes, frozenset[bytes]] = {}
        if self._estate.asks_for_metadata:
            metadata = current(await Whereabouts(self._repository).metadata_log(key))
        question = Question(key, decode_file(file) or None, holders, metadata)
        return {uuid: judge.wish(uuid, question) for uuid in uuids}
