"""`annexd route explain`: where a key of a cluster would go, and come from, and why."""

from __future__ import annotations

from typing import Any

from annexd.app.estate import Estate
from annexd.app.logs import clean
from annexd.errors import Refused
from annexd.protocol.codec import encode_file
from annexd.protocol.keys import Key
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.explain import explain
from annexd.router.members import in_order, place_in_order
from annexd.router.placement import place
from annexd.router.ports import Way, Wish, Wishes


async def explained(
    repository: Repository, estate: Estate, wishes: Wishes, cluster: bytes, what: bytes
) -> dict[str, Any]:
    """``what`` is a file in HEAD, or a key.  Raises `Refused` where it is neither."""
    whereabouts = Whereabouts(repository)
    key, file = await _meant(whereabouts, what)
    holders = await whereabouts.holders(key)
    ways = in_order(estate.ways(cluster, ()))
    return {
        "cluster": clean(estate.describe(cluster)),
        "uuid": clean(cluster),
        "key": clean(key.raw),
        "file": clean(file),
        "tree": [clean(line) for line in explain(estate.plan(cluster), estate.describe)],
        "put": await _put(estate, wishes, ways, key, file, holders),
        "get": [_source(estate, way, holders) for way in _as_asked(ways, holders)],
    }


async def _meant(whereabouts: Whereabouts, what: bytes) -> tuple[Key, bytes]:
    path = what.removeprefix(b"./")
    key = await whereabouts.key_of(path)
    if key is not None:
        return key, path
    try:
        return Key.parse(what), b""
    except ValueError:
        raise Refused(f"{clean(what)} is neither a file of git-annex's in HEAD nor a key") from None


async def _put(
    estate: Estate, wishes: Wishes, ways: list[Way], key: Key, file: bytes, holders: frozenset[bytes]
) -> dict[str, Any]:
    nodes = list(dict.fromkeys(uuid for way in ways for uuid in sorted(way.reaches)))
    lacking = sorted(uuid for uuid in nodes if uuid not in holders)
    wished = await wishes.of(key, encode_file(file), lacking, holders)
    placement = place(ways, holders, wished)
    return {
        "reason": clean(placement.reason),
        "nodes": [
            {
                "name": clean(estate.describe(uuid)),
                "uuid": clean(uuid),
                "chosen": uuid in placement.targets,
                "why": "has it" if uuid in holders else wished.get(uuid, Wish.WANTED).value,
            }
            for uuid in nodes
        ],
    }


def _as_asked(ways: list[Way], holders: frozenset[bytes]) -> list[Way]:
    """Those that have it by the location log first; the others only when none of these gives it."""
    return sorted(ways, key=lambda way: not way.reaches & holders)


def _source(estate: Estate, way: Way, holders: frozenset[bytes]) -> dict[str, Any]:
    condition = way.node.condition
    return {
        "name": clean(way.node.name),
        "uuid": clean(way.node.uuid),
        "holds": [clean(estate.describe(uuid)) for uuid in sorted(way.reaches & holders)],
        "health": condition.health.value,
        "cost": way.cost,
        "why": place_in_order(way),
    }
