"""
What the words of preferred content expressions mean: each is a question about
a key, as seen from one repository.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from annexd.protocol.keys import Key
from annexd.router import balance, expressions
from annexd.router.balance import Room
from annexd.router.clusters import is_cluster
from annexd.router.knowledge import Knowledge, Trust

_SECURE = ("SHA224", "SHA256", "SHA384", "SHA512", "SHA3_", "SKEIN", "BLAKE2")
# How the names of backends begin whose hashes nobody can make collide.

_DEFAULT_DIRECTORY = "public"


@dataclass(frozen=True, slots=True)
class Question:
    """
    Is this key wanted?  ``file`` is its path in the repository, as the client
    says, or `None`; ``holders`` whatever repositories have it, ``metadata`` the
    values that are set now, by field.
    """

    key: Key
    file: bytes | None
    holders: frozenset[bytes]
    metadata: Mapping[bytes, Collection[bytes]]
    unused: bool = False


Choices = dict[tuple["Balanced", bytes | None], frozenset[bytes]]
"""What the choosing words of one question come to, by the repository that is taken to have room."""


@dataclass(frozen=True, slots=True)
class Scene:
    """
    All that a term may look at. ``members`` are those of each group, and
    ``choices`` is filled by those who choose.
    """

    uuid: bytes
    question: Question
    knowledge: Knowledge
    members: Mapping[bytes, frozenset[bytes]]
    room: Room
    numcopies: int
    choices: Choices

    @property
    def key(self) -> Key:
        return self.question.key

    @property
    def path(self) -> str | None:
        file = self.question.file
        return text_of(file) if file else None

    @property
    def copies(self) -> list[bytes]:
        """The repositories that count as having it: no dead ones, and no clusters, which are no copies."""
        return [uuid for uuid in self.question.holders if not self.is_dead(uuid) and not is_cluster(uuid)]

    @property
    def counting(self) -> list[bytes]:
        """Those whose copies count towards numcopies."""
        return [uuid for uuid in self.copies if self.trust_of(uuid) is not Trust.UNTRUSTED]

    @property
    def lacking(self) -> int:
        """How many copies are missing; may be below zero."""
        return self.numcopies - len(self.counting)

    def is_dead(self, uuid: bytes) -> bool:
        return self.knowledge.is_dead(uuid)

    def trust_of(self, uuid: bytes) -> Trust:
        return self.knowledge.trust.get(uuid, Trust.SEMITRUSTED)

    def group(self, name: bytes) -> frozenset[bytes]:
        return self.members.get(name, frozenset())


class Term(Protocol):
    def holds(self, scene: Scene) -> bool: ...

    @property
    def unstable(self) -> bool:
        """Would its negation want what is not there, and no longer want it once it is?"""


class _Stable:
    __slots__ = ()
    unstable = False


@dataclass(frozen=True, slots=True)
class Constant(_Stable):
    value: bool

    def holds(self, scene: Scene) -> bool:
        return self.value


@dataclass(frozen=True, slots=True)
class Unusable(_Stable):
    """A word that can be read, but asks for something impossible: it never holds."""

    reason: str

    def holds(self, scene: Scene) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Path(_Stable):
    """``include`` and ``exclude``; what has no path is not included."""

    matches: Callable[[str], object]
    included: bool

    def holds(self, scene: Scene) -> bool:
        path = scene.path
        return (path is not None and bool(self.matches(path))) is self.included


@dataclass(frozen=True, slots=True)
class InPreferredDirectory(_Stable):
    """
    git-annex compares the configured name with parts of the path that end
    with their slash, save the last: so it is the innermost directory that
    counts.
    """

    def holds(self, scene: Scene) -> bool:
        path = scene.path
        settings = scene.knowledge.remotes.get(scene.uuid, {})
        name = text_of(settings.get(b"preferreddir", _DEFAULT_DIRECTORY.encode()))
        if path is None or "/" not in path:
            return False
        *outer, innermost = path.split("/")[:-1]
        return name == innermost or name in (part + "/" for part in outer)


@dataclass(frozen=True, slots=True)
class Present:
    unstable = True

    def holds(self, scene: Scene) -> bool:
        return scene.uuid in scene.question.holders and not scene.is_dead(scene.uuid)


@dataclass(frozen=True, slots=True)
class Secure(_Stable):
    def holds(self, scene: Scene) -> bool:
        return text_of(scene.key.backend).startswith(_SECURE)


@dataclass(frozen=True, slots=True)
class Unused(_Stable):
    """What has a file is used."""

    def holds(self, scene: Scene) -> bool:
        return scene.path is None and scene.question.unused


@dataclass(frozen=True, slots=True)
class Copies(_Stable):
    """At least so many, of those of which ``counts`` is true."""

    number: int
    counts: Callable[[Scene, bytes], bool]

    def holds(self, scene: Scene) -> bool:
        return sum(self.counts(scene, uuid) for uuid in scene.copies) >= self.number


@dataclass(frozen=True, slots=True)
class LackingCopies(_Stable):
    number: int

    def holds(self, scene: Scene) -> bool:
        return scene.lacking >= self.number


@dataclass(frozen=True, slots=True)
class InBackend(_Stable):
    name: bytes

    def holds(self, scene: Scene) -> bool:
        return scene.key.backend == self.name


@dataclass(frozen=True, slots=True)
class InAllGroup(_Stable):
    """In every repository of a group; a group of none is content."""

    name: bytes

    def holds(self, scene: Scene) -> bool:
        return scene.group(self.name) <= frozenset(scene.copies)


@dataclass(frozen=True, slots=True)
class OnlyInGroup(_Stable):
    """In one of a group, and nowhere else; a cluster, though no copy, is elsewhere."""

    name: bytes

    def holds(self, scene: Scene) -> bool:
        group = scene.group(self.name)
        places = scene.knowledge.holders_with_clusters(frozenset(scene.copies))
        return bool(places & group) and places <= group


@dataclass(frozen=True, slots=True)
class Size(_Stable):
    """``largerthan`` and ``smallerthan``; what has no size is smaller than anything."""

    limit: int
    larger: bool

    def holds(self, scene: Scene) -> bool:
        size = scene.key.size
        if size is None:
            return not self.larger
        return size > self.limit if self.larger else size < self.limit


@dataclass(frozen=True, slots=True)
class Metadata(_Stable):
    """``field`` in lower case; one of its values is enough."""

    field: str
    matches: Callable[[str], bool]

    def holds(self, scene: Scene) -> bool:
        return any(
            self.matches(text_of(value))
            for field, values in scene.question.metadata.items()
            if text_of(field).lower() == self.field
            for value in values
        )


@dataclass(frozen=True, slots=True)
class Balanced:
    """
    One of the ``count`` of a group (`None`: as many as are needed beside the
    copies outside of it) that the key falls to, ``by_size`` those that are the emptiest.

    With ``keeping`` what is present stays, and nobody wants what is in enough
    of the group.
    """

    group: bytes
    count: int | None
    by_size: bool
    keeping: bool

    @property
    def unstable(self) -> bool:
        return self.keeping

    def holds(self, scene: Scene) -> bool:
        group = scene.group(self.group)
        if self.count is None:
            enough = scene.lacking <= 0
            count = scene.lacking + len(group.intersection(scene.counting))
        else:
            enough = len(group.intersection(scene.copies)) >= self.count
            count = self.count
        if self.keeping and Present().holds(scene):
            return True
        if self.keeping and enough:
            return False
        choice = (self, scene.room.ample)
        if choice not in scene.choices:
            scene.choices[choice] = self._chosen(scene, count)
        return scene.uuid in scene.choices[choice]

    def _chosen(self, scene: Scene, count: int) -> frozenset[bytes]:
        group = scene.group(self.group)
        holders, room = scene.question.holders, scene.room
        if self.by_size:
            candidates = balance.emptiest(group, scene.key, count, holders, room)
        else:
            candidates = balance.with_space(group, scene.key, holders, room)
        return balance.chosen(group, candidates, scene.key, count)


@dataclass(frozen=True, slots=True)
class Standing:
    """A word that stands for a whole expression."""

    expression: expressions.Tree[Term]

    @property
    def unstable(self) -> bool:
        return any(term.unstable for term, _ in expressions.terms(self.expression))

    def holds(self, scene: Scene) -> bool:
        return expressions.matches(self.expression, lambda term: term.holds(scene))


def text_of(raw: bytes) -> str:
    """Whatever is not UTF-8 survives."""
    return raw.decode("utf-8", "surrogateescape")
