"""A plan as text: the tree, what it costs, what neighbours are told, and what is left out and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from annexd.router.routes import Branch, Plan
from annexd.router.topology import unwanted_node, unwanted_nodes
from annexd.router.weights import DOWN_COST

Describe = Callable[[bytes], str]
"""What a UUID is called, for people."""


def explain(plan: Plan, describe: Describe) -> list[str]:
    """Lines without line ends, in the order in which the branches are asked for content."""
    return list(_Explanation(plan, describe).lines())


class _Explanation:
    def __init__(self, plan: Plan, describe: Describe) -> None:
        self._plan = plan
        self._describe = describe
        self._here = plan.plane.network.here
        self._behind: dict[bytes, list[bytes]] = defaultdict(list)
        for uuid, stop in plan.tree.stops.items():
            self._behind[stop.before].append(uuid)

    def lines(self) -> Iterator[str]:
        yield f"from {self._describe(self._here.uuid)}:"
        for branch in self._plan.branches:
            if branch.is_gateway:
                yield from self._gateway_branch(branch)
            else:
                yield self._node(1, self._here.uuid, branch.uuid, f", remote {branch.name}")
        for node in sorted(self._plan.unreached):
            yield f"  not reached: {self._describe(node)}: {self._why_not(node)}"

    def _gateway_branch(self, branch: Branch) -> Iterator[str]:
        nodes = sorted(unwanted_nodes(branch.bypass))
        told = [uuid for uuid in branch.bypass if uuid not in set(map(unwanted_node, nodes))]
        yield from self._gateway(1, branch.uuid, f", remote {branch.name}", branch.reaches)
        yield "    told to bypass the gateways " + ", ".join(map(self._describe, told))
        if nodes:
            yield "    told not to serve the nodes " + ", ".join(map(self._describe, nodes))

    def _gateway(self, depth: int, uuid: bytes, note: str, reaches: frozenset[bytes]) -> Iterator[str]:
        stop = self._plan.tree.stops[uuid]
        indent = "  " * depth
        yield f"{indent}gateway {self._describe(uuid)}{note}, cost {stop.cost:.0f}{_state(stop.down)}"
        for node in sorted(self._plan.tree.shares.get(uuid, ())):
            yield self._node(depth + 1, uuid, node, "")
        for behind in self._behind[uuid]:
            if self._leads_to_any(behind, reaches):
                yield from self._gateway(depth + 1, behind, "", reaches)

    def _leads_to_any(self, uuid: bytes, reaches: frozenset[bytes]) -> bool:
        shares = self._plan.tree.shares
        return not reaches.isdisjoint(shares.get(uuid, ())) or any(
            self._leads_to_any(behind, reaches) for behind in self._behind[uuid]
        )

    def _node(self, depth: int, gateway: bytes, node: bytes, note: str) -> str:
        cost = self._plan.tree.shares[gateway][node]
        owners = self._plan.plane.owners_of(node)
        others = [self._describe(uuid) for uuid in owners if uuid != gateway]
        also = f" (also at {', '.join(others)}: dearer, or of the same cost)" if others else ""
        if gateway not in owners:
            also = " (nobody is known to have it, so it is looked for here)"
        state = _state(cost >= DOWN_COST)
        return f"{'  ' * depth}node {self._describe(node)}{note}, cost {cost:.0f}{state}{also}"

    def _why_not(self, node: bytes) -> str:
        owners = self._plan.plane.owners_of(node)
        if not owners:
            return "no gateway is known to have it"
        bypassed = self._plan.usable.bypass
        reasons = {True: "is to be bypassed", False: "no way is known to it"}
        return "; ".join(f"{self._describe(uuid)}: {reasons[uuid in bypassed]}" for uuid in owners)


def _state(down: bool) -> str:
    return ", down or avoided" if down else ""
