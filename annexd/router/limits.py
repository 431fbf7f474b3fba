"""How long a cluster waits for its nodes, and how much it keeps for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from annexd.node import Node


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

    def behind(self) -> Limits:
        """
        For requests that come from another gateway.  It gives us up when its
        own deadline passes, with all that we have reached, so whatever holds
        us up is given up well before that.
        """
        answer = self.outer_answer / 2
        return replace(
            self,
            answer=min(self.answer, answer),
            removal=min(self.removal, answer),
            progress=min(self.progress, self.outer_stall / 2),
            commit=min(self.commit, answer),
            bytes_per_s=max(self.bytes_per_s, 25e6),
        )

    def for_answer(self, node: Node) -> float:
        return self.disk if node.is_local else self.answer + self._more(node)

    def for_opening(self, node: Node) -> float:
        """
        For an upload to begin at a node that nothing has been heard from yet:
        all nodes wait for it, so it is given what all are given, and may take
        its time to be found for the next one.
        """
        if node.is_local or node.condition.latency_s is not None:
            return self.for_answer(node)
        return self.answer

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
