"""A gateway with nodes on the same disk, set up by git-annex itself."""

from __future__ import annotations

from typing import Sequence

from bench.place import CLIENT_UUID, Place, Repository

NODES = 3
_NAME = "bench"


class Gateway(Repository):
    """``command`` leads to its cluster."""

    def __init__(self, place: Place, name: str, nodes: int = NODES) -> None:
        super().__init__(place, name)
        self.nodes: Sequence[Repository] = [Repository(place, f"{name}-n{i}") for i in range(nodes)]
        place.run("git-annex", "wanted", ".", "nothing", cwd=self.path)
        for i, node in enumerate(self.nodes):
            place.run("git", "remote", "add", f"n{i}", str(node.path), cwd=self.path)
            place.run("git", "config", f"remote.n{i}.annex-uuid", node.uuid, cwd=self.path)
            place.run("git", "config", f"remote.n{i}.annex-cluster-node", _NAME, cwd=self.path)
        place.run("git-annex", "initcluster", _NAME, cwd=self.path)
        place.run("git-annex", "updatecluster", cwd=self.path)
        self.cluster = place.run("git", "config", f"annex.cluster.{_NAME}", cwd=self.path)

    @property
    def command(self) -> str:
        return f"git-annex-shell 'p2pstdio' '{self.path}' '{CLIENT_UUID}' --uuid {self.cluster}"
