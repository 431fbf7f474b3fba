"""
What a gateway knows from the git-annex branch about repositories: what they
are called, how far they are trusted, what they want, who proxies for whom, and
which clusters there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

from annexd.router import logs
from annexd.router.clusters import is_cluster

V = TypeVar("V")

LOGS = (
    b"uuid.log",
    b"remote.log",
    b"trust.log",
    b"group.log",
    b"preferred-content.log",
    b"required-content.log",
    b"group-preferred-content.log",
    b"numcopies.log",
    b"mincopies.log",
    b"maxsize.log",
    b"config.log",
    b"proxy.log",
    b"cluster.log",
)
"""The files of the branch that `Knowledge.from_logs` reads."""

_UUID = re.compile(rb"[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*")
_REMOTE_NAME = re.compile(r"(?![.-])[\w.-]+")
_ENTITY = re.compile(rb"&([0-9]{1,7});")
_LAST_CHARACTER = 0x10FFFF


class Trust(Enum):
    """The values are how trust.log spells them."""

    TRUSTED = b"1"
    SEMITRUSTED = b"?"
    UNTRUSTED = b"0"
    DEAD = b"X"


_TRUST = {trust.value: trust for trust in Trust}


@dataclass(frozen=True, slots=True)
class Proxied:
    """A repository that can be asked through a gateway, and what the gateway calls it."""

    uuid: bytes
    name: bytes


_NOTHING: Mapping[bytes, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Knowledge:
    """
    Repositories are keyed by UUID.  ``maxsizes`` are bytes; ``numcopies`` and
    ``mincopies`` are `None` where nobody set them.  ``proxies`` keeps order and
    duplicates, ``clusters`` has every member, dead ones too.
    """

    descriptions: Mapping[bytes, bytes] = field(default_factory=lambda: _NOTHING)
    remotes: Mapping[bytes, Mapping[bytes, bytes]] = field(default_factory=lambda: _NOTHING)
    trust: Mapping[bytes, Trust] = field(default_factory=lambda: _NOTHING)
    groups: Mapping[bytes, frozenset[bytes]] = field(default_factory=lambda: _NOTHING)
    preferred: Mapping[bytes, bytes] = field(default_factory=lambda: _NOTHING)
    required: Mapping[bytes, bytes] = field(default_factory=lambda: _NOTHING)
    group_preferred: Mapping[bytes, bytes] = field(default_factory=lambda: _NOTHING)
    numcopies: int | None = None
    mincopies: int | None = None
    maxsizes: Mapping[bytes, int] = field(default_factory=lambda: _NOTHING)
    config: Mapping[bytes, bytes] = field(default_factory=lambda: _NOTHING)
    proxies: Mapping[bytes, tuple[Proxied, ...]] = field(default_factory=lambda: _NOTHING)
    clusters: Mapping[bytes, frozenset[bytes]] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def from_logs(cls, texts: Mapping[bytes, bytes]) -> Knowledge:
        """``texts``: what the files in `LOGS` hold, journal included; those that are missing are empty."""

        def text(name: bytes) -> bytes:
            return texts.get(name, b"")

        return cls(
            descriptions=logs.of_repositories(text(b"uuid.log")),
            remotes=_each(_settings, logs.of_repositories(text(b"remote.log"))),
            trust=_trust(logs.of_repositories(text(b"trust.log"))),
            groups=_each(_words, logs.of_repositories(text(b"group.log"))),
            preferred=logs.of_repositories(text(b"preferred-content.log")),
            required=logs.of_repositories(text(b"required-content.log")),
            group_preferred=_filled(logs.of_names(text(b"group-preferred-content.log"))),
            numcopies=logs.number(text(b"numcopies.log")),
            mincopies=logs.number(text(b"mincopies.log")),
            maxsizes=_sizes(logs.of_names(text(b"maxsize.log"))),
            config=logs.of_names(text(b"config.log")),
            proxies=_each(_proxied, logs.of_names(text(b"proxy.log"))),
            clusters=_clusters(logs.of_names(text(b"cluster.log"))),
        )

    def is_dead(self, uuid: bytes) -> bool:
        return self.trust.get(uuid) is Trust.DEAD

    def members(self, cluster: bytes) -> frozenset[bytes]:
        """The nodes of a cluster that are not dead; none for a cluster that nobody knows."""
        return frozenset(uuid for uuid in self.clusters.get(cluster, ()) if not self.is_dead(uuid))

    def holders_with_clusters(self, holders: AbstractSet[bytes]) -> frozenset[bytes]:
        """With the clusters of which a member that is not dead holds it: no log ever names these."""
        living = frozenset(uuid for uuid in holders if not self.is_dead(uuid))
        holding = (cluster for cluster, members in self.clusters.items() if members & living)
        return frozenset(holders).union(holding)


def proxy_log_with(text: bytes, gateway: bytes, proxied: Iterable[Proxied], now: float) -> bytes:
    """
    What proxy.log becomes when ``gateway`` proxies exactly these, from ``now``
    (seconds since the epoch) on.  The same text where it says so already.
    """
    words = sorted({b"%s:%s" % (each.uuid, each.name) for each in proxied})
    return logs.with_entry(text, gateway, b" ".join(words), now)


def cluster_log_with(text: bytes, cluster: bytes, members: Iterable[bytes], now: float) -> bytes:
    """The same for cluster.log, and the whole set of a cluster's members."""
    return logs.with_entry(text, cluster, b" ".join(sorted(set(members))), now)


def _each(reading: Callable[[bytes], V], values: Mapping[bytes, bytes]) -> Mapping[bytes, V]:
    return {name: reading(value) for name, value in values.items()}


def _settings(value: bytes) -> Mapping[bytes, bytes]:
    pairs = (word.partition(b"=") for word in value.split(b" ") if word)
    return {name: _ENTITY.sub(_character, setting) for name, _, setting in pairs}


def _character(match: re.Match[bytes]) -> bytes:
    """White space and ``&`` in a setting are written as their numbers."""
    number = int(match[1])
    return chr(number).encode("utf-8", "surrogatepass") if number <= _LAST_CHARACTER else match[0]


def _trust(values: Mapping[bytes, bytes]) -> Mapping[bytes, Trust]:
    return {uuid: _TRUST[value] for uuid, value in values.items() if value in _TRUST}


def _words(value: bytes) -> frozenset[bytes]:
    return frozenset(value.split())


def _filled(values: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    return {name: value for name, value in values.items() if value}


def _sizes(values: Mapping[bytes, bytes]) -> Mapping[bytes, int]:
    return {uuid: int(value) for uuid, value in values.items() if value.isdigit() and len(value) < 40}


def _proxied(value: bytes) -> tuple[Proxied, ...]:
    """
    Names that are no good as names of git remotes are dropped, as git-annex
    does, and so is what no UUID looks like: it goes into commands for others.
    """
    parts = (word.partition(b":") for word in value.split())
    return tuple(Proxied(u, name) for u, _, name in parts if _UUID.fullmatch(u) and is_remote_name(name))


def is_remote_name(name: bytes) -> bool:
    """What git-annex takes for one: letters, digits and ``_.-``, the last two not in front."""
    return _REMOTE_NAME.fullmatch(name.decode("utf-8", "surrogateescape")) is not None


def _clusters(values: Mapping[bytes, bytes]) -> Mapping[bytes, frozenset[bytes]]:
    return {uuid: _words(value) for uuid, value in values.items() if is_cluster(uuid)}
