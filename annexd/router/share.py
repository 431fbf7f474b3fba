"""The nodes that one gateway serves for a request.  Thousands of gateways have tens of thousands of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

_NOTHING: frozenset[bytes] = frozenset()


class Share(Mapping[bytes, float]):
    """
    The costs of the paths to nodes.  ``nodes`` all have the same ``cost``, as
    most do; ``others`` have their own.
    """

    __slots__ = ("nodes", "cost", "others")

    def __init__(self, nodes: frozenset[bytes] = _NOTHING, cost: float = 0.0) -> None:
        self.nodes = nodes
        self.cost = cost
        self.others: dict[bytes, float] = {}

    @property
    def least(self) -> float:
        """The cost of the nearest; there must be one."""
        if not self.others:
            return self.cost
        least = min(self.others.values())
        return min(self.cost, least) if self.nodes else least

    @property
    def most(self) -> float:
        """No cost is higher."""
        return max(self.cost, *self.others.values()) if self.others else self.cost

    @property
    def parts(self) -> tuple[Collection[bytes], ...]:
        """All nodes."""
        return (self.nodes, self.others) if self.others else (self.nodes,)

    def beyond(self, cost: float) -> frozenset[bytes]:
        """The nodes whose paths cost as much, or more."""
        dear = frozenset(node for node, own in self.others.items() if own >= cost)
        return self.nodes | dear if self.cost >= cost else dear

    def __getitem__(self, node: bytes) -> float:
        return self.cost if node in self.nodes else self.others[node]

    def __iter__(self) -> Iterator[bytes]:
        yield from self.nodes
        yield from self.others

    def __len__(self) -> int:
        return len(self.nodes) + len(self.others)
