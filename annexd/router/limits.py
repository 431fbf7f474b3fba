"""How long a cluster waits for its nodes, and how much it keeps for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from annexd.node import Node

_OURS = 2 / 3
"""Of what another gateway waits for us: what is left is for its and our own work, and the ways there."""

_WAITS = re.compile(rb"waits:([0-9]{1,6}(?:\.[0-9]{1,6})?):([0-9]{1,6}(?:\.[0-9]{1,6})?)")


@dataclass(frozen=True, slots=True)
class Waits:
    """
    How long a gateway waits for one that it has sent a request to: seconds,
    for an answer and in the middle of content.  It says so in a word among
    the gateways to bypass, so that of several in a row the last one is the
    first to give up, and all others hear what was wrong.  git-annex takes the
    word for a gateway that it has never heard of, and passes it on.
    """

    answer: float
    stall: float

    @classmethod
    def told(cls, words: Iterable[bytes]) -> Waits | None:
        """The least of those in such a list: others may not know the words of those before them."""
        found = [match for match in map(_WAITS.fullmatch, words) if match is not None]
        if not found:
            return None
        return cls(min(float(match[1]) for match in found), min(float(match[2]) for match in found))

    @property
    def word(self) -> bytes:
        return b"waits:%.3f:%.3f" % (self.answer, self.stall)

    @property
    def ours(self) -> Waits:
        """Of one of whom somebody waits so long: how long it waits itself."""
        return Waits(self.answer * _OURS, self.stall * _OURS)


def without_waits(words: Iterable[bytes]) -> tuple[bytes, ...]:
    """The gateways, and nodes, in such a list."""
    return tuple(word for word in words if not _WAITS.fullmatch(word))


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes."""

    jobs: int = 16
    """Nodes that one request waits for at once; ``annex.jobs`` where that is set."""

    answer: float = 10.0
    """
    For the answer to a question, the opening of an upload or a download
    included.  A node whose own patience is shorter knows by itself how it fares.
    """

    disk: float = 300.0
    """The same for a disk of this machine, which may have to read content whole for an answer."""

    removal: float = 60.0
    progress: float = 10.0
    """In the middle of content, without a piece of it moving."""

    disk_progress: float = 60.0
    """The same for a disk of this machine, which also waits for a thread when many do."""

    commit: float = 300.0
    """For what a node does when all has arrived, verification included; see `for_commit`."""

    bytes_per_s: float = 20e6
    """The slowest disk from which a node is given the time to read again what it verifies."""

    stagger: float = 0.5
    """After so long without an answer, the next holder is asked as well."""

    same_key: float = 240.0
    """For another client's upload of the same content; below what peers wait for an answer."""

    parting: float = 5.0
    """For nodes to let go of what they were asked for."""

    backlog: int = 8 << 20
    """Bytes of one upload that wait for its slowest node."""

    backlog_of_all: int = 256 << 20
    """The same of all uploads together: beyond that, their clients wait for the slowest node."""

    outer_answer: float = 15.0
    outer_stall: float = 15.0
    """What other gateways are taken to wait for this one, for an answer and in the middle of content."""

    @property
    def outer(self) -> Waits:
        """What a neighbour gateway is told that it is waited for, by one where a request has come in."""
        return Waits(self.outer_answer, self.outer_stall)

    def behind(self, told: Waits | None = None) -> Limits:
        """
        For requests that come from another gateway, which has ``told`` how
        long it waits.  It gives us up when its own deadline passes, with all
        that we have reached, so whatever holds us up is given up well before that.
        """
        waits = (told or self.outer).ours
        return replace(
            self,
            answer=min(self.answer, waits.answer),
            removal=min(self.removal, waits.answer),
            progress=min(self.progress, waits.stall),
            commit=min(self.commit, waits.answer),
            bytes_per_s=max(self.bytes_per_s, 25e6),
            outer_answer=min(self.outer_answer, waits.answer),
            outer_stall=min(self.outer_stall, waits.stall),
        )

    def for_answer(self, node: Node) -> float:
        return self.disk if node.is_local else self.answer + self._more(node)

    def for_removal(self, node: Node) -> float:
        return self.disk if node.is_local else self.removal + self._more(node)

    def for_progress(self, node: Node) -> float:
        allowed = node.allowance
        return self.progress if allowed is None else max(self.progress, allowed.progress)

    def _more(self, node: Node) -> float:
        """What the node is given for an answer beyond what others are."""
        return 0.0 if node.allowance is None else max(0.0, node.allowance.answer - self.answer)

    def for_commit(self, size: int) -> float:
        return self.commit + size / self.bytes_per_s
