"""[nodes] of annexd.toml: how a gateway deals with its nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from annexd.node import Allowance
from annexd.router.limits import Limits
from annexd.sessions.deadlines import Patience

_HOW_MUCH_LONGER_S = 5.0
"""
What a cluster gives a node beyond the node's own deadlines: it is the link
that has to notice first, as it is common to all sessions.
"""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """[nodes] of the configuration; seconds."""

    connect: float = 15.0
    """Until a node has been reached, and has introduced itself."""

    answer: float = 15.0
    """For its answer to a question."""

    stall: float = 15.0
    """In the middle of content, without a byte moving."""

    idle: float = 60.0
    """For so long a connection is kept that nobody uses."""

    connections: int = 8
    """To one node, at once."""

    tor_connect: float = 60.0
    """The same for a node behind tor, which may have to look for it and build circuits."""

    tor_answer: float = 60.0
    tor_stall: float = 60.0
    tor_socks: str | None = None
    """Tor's SOCKS port: a path, or ADDRESS:PORT; `None` is that of [listen.tor], else the usual one."""

    git_through_nodes: bool = True
    """Whether who comes with a token for a node or a cluster may use git with the gateway."""

    exchange: bool = True
    """Whether gateways of a cluster tell each other where keys are."""

    exchange_poll: float = 300.0
    """Between looks at what neighbours have, whether they have said anything or not; 0: none."""

    @property
    def patience(self) -> Patience:
        return Patience(connect=self.connect, answer=self.answer, stall=self.stall, idle=self.idle)

    @property
    def tor_patience(self) -> Patience:
        return Patience(
            connect=self.tor_connect, answer=self.tor_answer, stall=self.tor_stall, idle=self.idle
        )

    @property
    def tor_allowance(self) -> Allowance:
        """Of a cluster, for a node behind tor."""
        return Allowance(
            answer=self.tor_connect + self.tor_answer + _HOW_MUCH_LONGER_S,
            progress=self.tor_stall + _HOW_MUCH_LONGER_S,
        )

    @property
    def limits(self) -> Limits:
        """Of clusters."""
        longest = self.connect + self.answer + _HOW_MUCH_LONGER_S
        limits = Limits(
            answer=longest,
            progress=self.stall + _HOW_MUCH_LONGER_S,
            outer_answer=self.answer,  # other gateways are like this one, it is to be hoped
            outer_stall=self.stall,
        )
        return replace(limits, removal=limits.removal + longest)
