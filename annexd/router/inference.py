"""
What the gateways are, and how they are linked, from what they say in proxy.log.

A gateway lists what can be reached through it, its own nodes by the names of
its remotes, and those behind a neighbour by the name of the neighbour, a dash,
and the name that the neighbour lists.  The links are found by reading this
backwards: an entry is *explained* by a link, called P, to a gateway that lists
the same repository by the rest of the name after ``P-``; an entry that nothing
explains is a node of the gateway itself.

That is guesswork.  Names may have dashes of their own; lists are as old as
the last update of their gateway; and git-annex's own updates leave names that
go round in circles.  Every explanation shortens the name, so the guessing
ends; of several the better attested one is taken.  A wrong guess leads to a
detour or to nodes that are not reached at the first try, never into a loop:
that is for the lists of gateways to bypass to see to.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from annexd.router.clusters import is_cluster
from annexd.router.topology import Gateway, Here, Link, Network

Entries = Mapping[bytes, Sequence[tuple[bytes, str]]]
"""proxy.log: for each gateway, what it lists, UUIDs and names."""

_LONGEST_NAME = 255
"""git makes directories of the names of remotes, and they can be no longer."""

_Claim = tuple[bytes, str, bytes]
"""A gateway has a remote, so called, that is this other gateway."""

_Entry = tuple[bytes, bytes, str]
"""A gateway, what it lists, and the name."""


_ILLEGAL = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(^|/)\.|\.lock(/|$)|^/|/$")


def legal(name: str) -> bool:
    """Whether git takes it for a remote's name; git-annex does not even read others."""
    return 0 < len(name.encode("utf-8", "replace")) <= _LONGEST_NAME and not _ILLEGAL.search(name)


def rank(name: str) -> tuple[int, int, str]:
    """Of several names for a node the one with the least is the shortest path: every hop has a dash."""
    return name.count("-"), len(name), name


def infer(here: Here, entries: Entries, members: Mapping[bytes, frozenset[bytes]]) -> Network:
    """The network as it looks from ``here``. ``members`` is cluster.log, without dead repositories."""
    return Survey(entries).seen_from(here, members)


class Survey:
    """
    What proxy.log says, whoever reads it.  Time is linear in its size, times
    the number of dashes in a name.
    """

    def __init__(self, entries: Entries) -> None:
        lists = _Lists(entries)
        links = _Links(lists)
        owned, maybe = _owned(lists, links)
        self.gateways = {
            uuid: Gateway(
                uuid,
                frozenset(lists.clusters[uuid]),
                owned[uuid],
                frozenset(maybe[uuid]),
                links.of(uuid),
                frozenset(lists.names[uuid]),
            )
            for uuid in lists.names
        }

    def seen_from(self, here: Here, members: Mapping[bytes, frozenset[bytes]]) -> Network:
        others = {uuid: gateway for uuid, gateway in self.gateways.items() if uuid != here.uuid}
        return Network(here, members, others)


class _Lists:
    """proxy.log, without what is of no use."""

    def __init__(self, entries: Entries) -> None:
        self.names: dict[bytes, dict[bytes, set[str]]] = {}
        self.clusters: dict[bytes, set[bytes]] = defaultdict(set)
        self.listing: dict[tuple[bytes, str], list[bytes]] = defaultdict(list)
        for gateway in sorted(entries):
            names = self.names[gateway] = defaultdict(set)
            for uuid, name in dict.fromkeys(entries[gateway]):
                if is_cluster(uuid):
                    self.clusters[gateway].add(uuid)
                elif legal(name):
                    names[uuid].add(name)
                    self.listing[uuid, name].append(gateway)

    def __iter__(self) -> Iterator[_Entry]:
        for gateway, names in self.names.items():
            for uuid in sorted(names):
                for name in sorted(names[uuid]):
                    yield gateway, uuid, name

    def explanations(self, entry: _Entry) -> Iterator[_Claim]:
        """The links that would explain an entry, those with shorter names first."""
        gateway, uuid, name = entry
        dash = name.find("-", 1)
        while dash > 0:
            for other in self.listing.get((uuid, name[dash + 1 :]), ()):
                if other != gateway:
                    yield gateway, name[:dash], other
            dash = name.find("-", dash + 1)


class _Links:
    """Which of the possible links there are."""

    def __init__(self, lists: _Lists) -> None:
        self._lists = lists
        self._possible = {entry: tuple(lists.explanations(entry)) for entry in lists}
        self._own = {entry for entry, claims in self._possible.items() if not claims}
        self._own_of: dict[bytes, list[tuple[bytes, str]]] = defaultdict(list)
        for gateway, uuid, name in sorted(self._own):
            self._own_of[gateway].append((uuid, name))
        self._evidence: dict[_Claim, set[bytes]] = defaultdict(set)
        self._attested: dict[_Claim, set[bytes]] = defaultdict(set)
        for entry, claims in self._possible.items():
            for claim in claims:
                self._weigh(entry, claim)
        self._by_name: dict[tuple[bytes, str], bytes] = {}
        self._accept_solid()
        self._accept_needed()
        self._of: dict[bytes, list[Link]] = defaultdict(list)
        for (gateway, name), other in sorted(self._by_name.items()):
            carries = frozenset(self._evidence[gateway, name, other])
            self._of[gateway].append(Link(other, name, carries))

    def of(self, gateway: bytes) -> tuple[Link, ...]:
        return tuple(self._of[gateway])

    def explain(self, entry: _Entry) -> bool:
        return any(self._by_name.get((g, name)) == other for g, name, other in self._possible[entry])

    def prefix(self, gateway: bytes, name: str) -> bool:
        """Whether it starts like what is behind a neighbour, though the neighbour lists no such thing."""
        return any(name.startswith(link.name + "-") for link in self._of[gateway])

    def _weigh(self, entry: _Entry, claim: _Claim) -> None:
        _, uuid, name = entry
        _, prefix, other = claim
        self._evidence[claim].add(uuid)
        if (other, uuid, name[len(prefix) + 1 :]) in self._own:
            self._attested[claim].add(uuid)

    def _solid(self, claim: _Claim) -> bool:
        """
        Whether most of the neighbour's own nodes are listed as they would be
        if the link were there: through it, or by a name that is no worse.
        """
        return 2 * self._missing(claim) <= len(self._own_of[claim[2]])

    def _missing(self, claim: _Claim) -> int:
        gateway, prefix, other = claim
        listed = self._lists.names[gateway]
        return sum(
            not any(rank(known) <= rank(f"{prefix}-{name}") for known in listed.get(uuid, ()))
            for uuid, name in self._own_of[other]
        )

    def _accept_solid(self) -> None:
        solid = [claim for claim in self._evidence if self._solid(claim)]
        by_name: dict[bytes, dict[str, set[bytes]]] = defaultdict(lambda: defaultdict(set))
        for gateway, name, other in solid:
            by_name[gateway][name].add(other)
        self._composed = {claim for claim in self._evidence if self._made_of_two(claim, by_name[claim[0]])}
        entries: dict[_Claim, list[_Entry]] = defaultdict(list)
        for entry, claims in self._possible.items():
            for claim in claims:
                entries[claim].append(entry)
        rest = set(solid) - self._composed
        for claim in sorted(rest, key=lambda claim: (len(claim[1]), self._order(claim))):
            if not all(self.explain(entry) for entry in entries[claim]):
                self._by_name.setdefault(claim[:2], claim[2])

    def _made_of_two(self, claim: _Claim, solid: Mapping[str, set[bytes]]) -> bool:
        """``A-B`` to a gateway that a neighbour A calls B is no remote, but a way through that neighbour."""
        _, name, other = claim
        cuts = [cut for cut, letter in enumerate(name) if letter == "-" and cut]
        return any(
            (middle, name[cut + 1 :], other) in self._evidence
            for cut in cuts
            for middle in solid.get(name[:cut], ())
        )

    def _order(self, claim: _Claim) -> tuple[int, int, int, bytes]:
        attested, evidence = self._attested.get(claim, ()), self._evidence[claim]
        return self._missing(claim), -len(attested), -len(evidence), claim[2]

    def _accept_needed(self) -> None:
        """For what is not explained yet, the shortest name that does it."""
        for entry, claims in self._possible.items():
            if claims and not self.explain(entry):
                free = [c for c in claims if c[:2] not in self._by_name and c not in self._composed]
                if free:
                    shortest = min(len(claim[1]) for claim in free)
                    best = min((claim for claim in free if len(claim[1]) == shortest), key=self._order)
                    self._by_name[best[:2]] = best[2]


def _owned(lists: _Lists, links: _Links) -> tuple[dict[bytes, dict[bytes, str]], dict[bytes, set[bytes]]]:
    """
    Each gateway's own nodes, and those that may be.  What looks like a stale
    way through a neighbour counts only where nobody else has the node.
    """
    maybe: dict[bytes, set[bytes]] = defaultdict(set)
    owned: dict[bytes, dict[bytes, str]] = defaultdict(dict)
    doubtful: list[_Entry] = []
    known: set[bytes] = set()
    for entry in lists:
        gateway, uuid, name = entry
        if links.explain(entry):
            continue
        if links.prefix(gateway, name):
            doubtful.append(entry)
        else:
            known.add(uuid)
            _keep_shortest(owned[gateway], uuid, name)
    for gateway, uuid, name in doubtful:
        if uuid not in known:
            _keep_shortest(owned[gateway], uuid, name)
        else:
            maybe[gateway].add(uuid)
    return owned, maybe


def _keep_shortest(names: dict[bytes, str], uuid: bytes, name: str) -> None:
    names[uuid] = min(names.get(uuid, name), name, key=rank)
