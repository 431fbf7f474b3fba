"""Random networks of gateways, for `tests.support.gateway_net`."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from tests.support.gateway_net import Net, gateway, node

_DASHED = ["a", "b", "n", "a-b", "b-a", "a-n", "b-n", "a-b-n", "n-n"]


def random_net(random: Random, gateways: int, nodes: int, links: float, dashes: bool = False) -> Net:
    """
    About ``links`` links per gateway; some nodes are attached to several
    gateways, some gateways are nodes (of themselves or of others), and some
    links are there twice.  With ``dashes`` no name tells what it stands for.
    """
    all_gateways = [gateway(number) for number in range(1, gateways + 1)]
    net_links: dict[bytes, dict[str, bytes]] = {uuid: {} for uuid in all_gateways}
    net_nodes: dict[bytes, dict[str, bytes]] = {uuid: {} for uuid in all_gateways}

    def attach(at: bytes, name: str, uuid: bytes, remotes: dict[bytes, dict[str, bytes]]) -> None:
        if dashes:
            name = random.choice(_DASHED)
        while name in net_links[at] or name in net_nodes[at]:
            name += random.choice("xyz")
        remotes[at][name] = uuid

    shape = random.randrange(3)
    for number, at in enumerate(all_gateways):
        others = [uuid for uuid in all_gateways if uuid != at]
        chosen = random.sample(others, min(len(others), round(random.uniform(0, 2 * links))))
        if shape == 0 and others:
            chosen.append(all_gateways[(number + 1) % gateways])
        for uuid in dict.fromkeys(chosen):
            attach(at, f"G{all_gateways.index(uuid) + 1}", uuid, net_links)
            if shape == 1 and random.random() < 0.5 and at not in net_links[uuid].values():
                attach(uuid, f"G{number + 1}", at, net_links)
            if random.random() < 0.05:
                attach(at, f"other{all_gateways.index(uuid) + 1}", uuid, net_links)
    for number in range(1, nodes + 1):
        uuid = random.choice(all_gateways) if random.random() < 0.05 else node(number)
        for at in random.sample(all_gateways, min(gateways, random.choice([1, 1, 1, 1, 1, 2, 3]))):
            if uuid not in net_nodes[at].values():
                attach(at, f"n{number}", uuid, net_nodes)
    return Net(net_nodes, net_links)


def break_edges(random: Random, net: Net, share: float) -> None:
    edges = [
        (at, to) for at in net.links for to in [*net.links[at].values(), *net.nodes[at].values()] if to != at
    ]
    net.down = frozenset(edge for edge in sorted(set(edges)) if random.random() < share)


def spoil(random: Random, net: Net) -> None:
    """Whatever may be in proxy.log: git-annex's names, and names of what is there no more."""
    for _ in range(random.randrange(3)):
        net.update(random.sample([*net.nodes], len(net.nodes)), stock=True)
    pieces = [name for at in net.links for name in (*net.links[at], *net.nodes[at])] or ["n"]
    listable = [*sorted(net.members), node(999)]
    for at in net.nodes:
        garbage = tuple(
            (random.choice(listable), "-".join(random.choices(pieces, k=random.randrange(1, 6))))
            for _ in range(random.randrange(4))
        )
        net.lists[at] = (*net.lists.get(at, ()), *garbage)
    # A member that no gateway has any more.
    net.members |= {node(999)}


def randoms() -> st.SearchStrategy[Random]:
    return st.integers(0, 2**32).map(Random)
