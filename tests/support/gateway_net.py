"""
Gateways, nodes and links that are not there: what happens to an upload that
enters at one of them, counted.

Each gateway is annexd (it plans with `annexd.router.routes`, by its own git
config and the proxy.log that all share) or stock: git-annex sends to all its
nodes, and to all neighbours that are not in the list of gateways to bypass, to
which it adds itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from annexd.router.inference import Survey
from annexd.router.naming import proxied_names
from annexd.router.routes import Routes, suspects
from annexd.router.topology import Attached, Edge, Gateway, Here, Link, Neighbour, Network, unwanted_node
from annexd.router.weights import Quality, Weights

CLUSTER = b"ac000000-0000-8000-8000-000000000000"
MOST_MESSAGES = 3000

Lists = dict[bytes, tuple[tuple[bytes, str], ...]]


def gateway(number: int) -> bytes:
    return b"%08x-0000-4000-8000-00000000aaaa" % number


def node(number: int) -> bytes:
    return b"%08x-0000-4000-8000-00000000bbbb" % number


class TooMany(Exception):
    """Counting has been given up."""


@dataclass
class Upload:
    """
    ``received``: how often each node; ``visits``: how often each gateway; ``sent``: all that was tried.
    ``hoped`` are the nodes that a second try looked for in more places than one, see `Plan.unsure`.
    """

    received: Counter[bytes] = field(default_factory=Counter)
    visits: Counter[bytes] = field(default_factory=Counter)
    sent: int = 0
    longest_bypass: int = 0
    hoped: frozenset[bytes] = frozenset()

    def count(self) -> None:
        self.sent += 1
        if self.sent > MOST_MESSAGES:
            raise TooMany


@dataclass
class Net:
    """
    ``nodes`` and ``links`` by gateway: remote names, and what they lead to.
    ``down`` are edges that do not work; a gateway knows of its own ones.
    """

    nodes: dict[bytes, dict[str, bytes]]
    links: dict[bytes, dict[str, bytes]]
    stock: frozenset[bytes] = frozenset()
    down: frozenset[Edge] = frozenset()
    lists: Lists = field(default_factory=dict)
    unheard: Mapping[bytes, frozenset[bytes]] = field(default_factory=dict)
    """Whose lists a gateway has not got yet."""

    tries: int = 1
    perfect: bool = False
    """Everybody knows all links and nodes, whatever the lists say; but not what is down elsewhere."""

    def __post_init__(self) -> None:
        self._routes: dict[bytes, Routes] = {}
        self._surveys: dict[frozenset[bytes], Survey] = {}
        self._truth: dict[bytes, Gateway] = {}
        self.members = frozenset(uuid for nodes in self.nodes.values() for uuid in nodes.values())

    def here(self, uuid: bytes) -> Here:
        clusters = frozenset((CLUSTER,))
        return Here(
            uuid,
            tuple(Attached(n, name, clusters=clusters) for name, n in self.nodes[uuid].items()),
            tuple(Neighbour(g, name, clusters=clusters) for name, g in self.links[uuid].items()),
            {CLUSTER: "mycluster"},
        )

    def routes(self, uuid: bytes) -> Routes:
        if uuid not in self._routes:
            here, members = self.here(uuid), {CLUSTER: self.members}
            if self.perfect:
                self._routes[uuid] = Routes(Network(here, members, self._true_gateways()))
            else:
                survey = self._survey(self.unheard.get(uuid, frozenset()))
                self._routes[uuid] = Routes(survey.seen_from(here, members))
        return self._routes[uuid]

    def _true_gateways(self) -> Mapping[bytes, Gateway]:
        if not self._truth:
            for at, links in self.links.items():
                known = tuple(Link(to, name, self.members) for name, to in links.items())
                own = {n: name for name, n in self.nodes[at].items()}
                self._truth[at] = Gateway(at, frozenset((CLUSTER,)), own, links=known, proxies=self.members)
        return self._truth

    def _survey(self, unheard: frozenset[bytes]) -> Survey:
        if unheard not in self._surveys:
            lists = {g: entries for g, entries in self.lists.items() if g not in unheard}
            self._surveys[unheard] = Survey(lists)
        return self._surveys[unheard]

    def weights(self, uuid: bytes) -> Weights:
        remotes = {**self.nodes[uuid], **self.links[uuid]}
        return Weights({name: Quality(up=(uuid, to) not in self.down) for name, to in remotes.items()})

    # --- updates -----------------------------------------------------------

    def update(self, order: Iterable[bytes], stock: bool) -> None:
        """These gateways update their lists, one after the other."""
        for uuid in order:
            self.lists[uuid] = self.stock_names(uuid) if stock else self.annexd_names(uuid)
        self._routes.clear()
        self._surveys.clear()

    def stock_names(self, uuid: bytes) -> tuple[tuple[bytes, str], ...]:
        """What git-annex's updatecluster writes: all names that the neighbours list, except for own nodes."""
        own = {n: name for name, n in self.nodes[uuid].items()}
        behind = [
            (n, f"{name}-{listed}")
            for name, neighbour in self.links[uuid].items()
            for n, listed in self.lists.get(neighbour, ())
            if n not in own and n != CLUSTER
        ]
        return ((CLUSTER, "mycluster"), *own.items(), *behind)

    def annexd_names(self, uuid: bytes) -> tuple[tuple[bytes, str], ...]:
        return proxied_names(self.here(uuid), self.lists, {CLUSTER: self.members})

    def settle(self, stock_rounds: int = 0) -> None:
        """All gateways update until nothing changes, git-annex's own only so many times."""
        for _ in range(stock_rounds):
            self.update(self.nodes, stock=True)
        while not stock_rounds:
            before = dict(self.lists)
            self.update(self.nodes, stock=False)
            if before == self.lists:
                break

    # --- what is so --------------------------------------------------------

    def reachable(self, entry: bytes) -> frozenset[bytes]:
        """The nodes to which there is a way that works."""
        seen, todo, found = {entry}, [entry], set()
        while todo:
            at = todo.pop()
            found |= {n for n in self.nodes[at].values() if (at, n) not in self.down}
            for neighbour in self.links[at].values():
                if neighbour not in seen and (at, neighbour) not in self.down:
                    seen.add(neighbour)
                    todo.append(neighbour)
        return frozenset(found)

    # --- uploads -----------------------------------------------------------

    def put(self, entry: bytes) -> Upload:
        upload = Upload()
        self._arrive(upload, entry, (), ())
        return upload

    def _arrive(
        self, upload: Upload, at: bytes, bypass: tuple[bytes, ...], path: tuple[bytes, ...]
    ) -> frozenset[bytes]:
        """The nodes that the gateway says it reached."""
        assert at not in path, f"{at!r} is visited twice on {path!r}"
        upload.visits[at] += 1
        upload.longest_bypass = max(upload.longest_bypass, len(b" ".join((b"BYPASS", *bypass))))
        if at in self.stock:
            return self._flood(upload, at, bypass, (*path, at))
        return self._follow(upload, at, bypass, (*path, at))

    def _flood(
        self, upload: Upload, at: bytes, bypass: tuple[bytes, ...], path: tuple[bytes, ...]
    ) -> frozenset[bytes]:
        reached = frozenset(n for n in self.nodes[at].values() if self._give(upload, at, n))
        for neighbour in self.links[at].values():
            if neighbour not in bypass and neighbour != at:
                reached |= self._pass_on(upload, neighbour, (*bypass, at), path)
        return reached

    def _follow(
        self, upload: Upload, at: bytes, bypass: tuple[bytes, ...], path: tuple[bytes, ...]
    ) -> frozenset[bytes]:
        routes, weights = self.routes(at), self.weights(at)
        plan = routes.plan(CLUSTER, bypass, weights)
        reached: frozenset[bytes] = frozenset()
        avoid: frozenset[Edge] = frozenset()
        wanted = plan.unreached.union(*(branch.reaches for branch in plan.branches))
        # If all tried again, tries would multiply.
        for _ in range(1 if bypass else self.tries):
            for branch in plan.branches:
                if branch.is_gateway:
                    reached |= self._pass_on(upload, branch.uuid, branch.bypass, path)
                elif self._give(upload, at, branch.uuid):
                    reached |= branch.reaches
            missing = wanted - reached
            suspected = suspects(plan, reached)
            if not missing or suspected <= avoid:
                break
            avoid |= suspected
            plan = routes.plan(CLUSTER, bypass, weights, missing, avoid)
            upload.hoped |= plan.unsure
        return reached

    def _give(self, upload: Upload, at: bytes, to: bytes) -> bool:
        upload.count()
        if (at, to) in self.down:
            return False
        upload.received[to] += 1
        return True

    def _pass_on(
        self, upload: Upload, to: bytes, bypass: tuple[bytes, ...], path: tuple[bytes, ...]
    ) -> frozenset[bytes]:
        upload.count()
        if (path[-1], to) in self.down:
            return frozenset()
        return self._arrive(upload, to, bypass, path)


def all_stock(net: Net) -> Net:
    return Net(net.nodes, net.links, frozenset(net.nodes), net.down, net.lists)


__all__ = ["CLUSTER", "Net", "TooMany", "Upload", "all_stock", "gateway", "node", "unwanted_node"]
