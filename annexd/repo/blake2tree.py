"""
BLAKE2bp and BLAKE2sp: BLAKE2's parallel variants, from hashlib's tree mode.

The input is dealt out block by block to a row of hashes, the leaves, whose
digests are hashed once more.
"""

from __future__ import annotations

import hashlib

from annexd.flow.body import Buffer


class TreeHash:
    """As a hashlib object, as far as `annexd.repo.verify` needs it."""

    def __init__(self, algorithm: type[hashlib.blake2b] | type[hashlib.blake2s], leaves: int) -> None:
        size = algorithm.MAX_DIGEST_SIZE

        def node(offset: int, depth: int, last: bool) -> hashlib.blake2b | hashlib.blake2s:
            return algorithm(
                fanout=leaves, depth=2, inner_size=size, node_offset=offset, node_depth=depth, last_node=last
            )

        self._leaves = [node(number, 0, number == leaves - 1) for number in range(leaves)]
        self._root = node(0, 1, True)
        self._block = self._root.block_size
        self._round = self._block * leaves
        self._rest = b""
        """What has not been dealt out yet, for want of a whole round."""

    def update(self, data: Buffer, /) -> None:
        view = memoryview(data)
        if self._rest:
            missing = self._round - len(self._rest)
            self._rest += view[:missing]
            if len(self._rest) < self._round:
                return
            self._deal(memoryview(self._rest))
            view = view[missing:]
        whole = len(view) - len(view) % self._round
        self._deal(view[:whole])
        self._rest = bytes(view[whole:])

    def hexdigest(self) -> str:
        """Ends the hash: `update` may not be called after it."""
        self._deal(memoryview(self._rest))
        self._rest = b""
        root = self._root.copy()
        for leaf in self._leaves:
            root.update(leaf.digest())
        return root.hexdigest()

    def _deal(self, view: memoryview) -> None:
        # Joining a leaf's blocks is quicker than hashing them one by one, and lets other threads run.
        for number, leaf in enumerate(self._leaves):
            starts = range(number * self._block, len(view), self._round)
            leaf.update(b"".join([view[start : start + self._block] for start in starts]))


def blake2bp512() -> TreeHash:
    return TreeHash(hashlib.blake2b, 4)


def blake2sp256() -> TreeHash:
    return TreeHash(hashlib.blake2s, 8)
