"""Gateways that are all linked over ssh, each with a node on its own disk; set up by git-annex itself."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import contextmanager
from typing import Iterator, Sequence

from bench.place import CLIENT_UUID, Missing, Place, Repository
from bench.servers import Daemon
from bench.sshd import Sshd

_NAME = "bench"


class Gateway:
    """A `bench.servers.Side`; ``command`` of its repository leads to the cluster."""

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self.repository = Repository(place, name)
        self.node = Repository(place, f"{name}-n")
        self.path = self.repository.path
        self.daemon: Daemon | None = None
        self._place = place
        place.run("git-annex", "wanted", ".", "nothing", cwd=self.path)
        self.run("git", "remote", "add", "node", str(self.node.path))
        self.run("git", "config", "remote.node.annex-uuid", self.node.uuid)
        self.run("git", "config", "remote.node.annex-cluster-node", _NAME)

    def run(self, *argv: str) -> str:
        return self._place.run(*argv, cwd=self.path)

    def join(self, cluster: str) -> None:
        self.run("git", "config", f"annex.cluster.{_NAME}", cluster)
        self.run("git-annex", "updatecluster")

    def link(self, other: Gateway, cluster: str) -> None:
        self.run("git", "remote", "add", other.name, f"ssh://{other.name}{other.path}")
        self.run("git", "config", f"remote.{other.name}.annex-uuid", other.repository.uuid)
        self.run("git", "config", f"remote.{other.name}.annex-cluster-gateway", cluster)

    def learn(self, other: Gateway) -> None:
        refs = f"+refs/heads/git-annex:refs/remotes/{other.name}/git-annex"
        self.run("git", "fetch", "-q", str(other.path), refs)
        self.run("git-annex", "merge", "-q")

    def argv(self, cluster: str) -> Sequence[str]:
        command = f"git-annex-shell 'p2pstdio' '{self.path}' '{CLIENT_UUID}' --uuid {cluster}"
        return [*self._shell(), "-c", command]

    def forced_command(self) -> str:
        path = self._place.environment["PATH"]
        return f'PATH={path} {" ".join(self._shell())} -c \\"$SSH_ORIGINAL_COMMAND\\"'

    def cpu_of(self, sessions: Sequence[object]) -> float:
        raise NotImplementedError

    def _shell(self) -> Sequence[str]:
        if self.daemon is None:
            return [self._place.shell]
        return [*self.daemon.shell, "--socket", self.daemon.socket]


class Mesh:
    """With ``annexd`` each gateway is a daemon of its own, else git-annex-shell; see `linked`."""

    def __init__(self, place: Place, name: str, count: int, annexd: bool = False) -> None:
        self._place = place
        self.has_daemons = annexd
        self.gateways = [Gateway(place, f"{name}-{number}") for number in range(count)]
        self._set_up()

    @property
    def nodes(self) -> set[bytes]:
        """UUIDs."""
        return {one.node.uuid.encode() for one in self.gateways}

    def argv(self) -> Sequence[str]:
        return self.gateways[0].argv(self.cluster)

    def restart(self) -> None:
        """Nothing is warm afterwards."""
        self.stop()
        if self.has_daemons:
            for one in self.gateways:
                one.daemon = Daemon(self._place, [], [one.repository, one.node], one.name)

    def stop(self) -> None:
        for one in self.gateways:
            if one.daemon is not None:
                one.daemon.stop()
                one.daemon = None

    def _set_up(self) -> None:
        """One begins, the others extend its cluster; each then learns from all in turn."""
        first, *others = self.gateways
        first.run("git-annex", "initcluster", _NAME)
        first.run("git-annex", "updatecluster")
        self.cluster = first.run("git", "config", f"annex.cluster.{_NAME}")
        for former, other in itertools.pairwise(self.gateways):
            other.learn(former)
            other.join(self.cluster)
        for one, other in itertools.permutations(self.gateways, 2):
            one.link(other, self.cluster)
        for one in self.gateways:
            for other in self.gateways:
                if other is not one:
                    one.learn(other)
            one.run("git-annex", "updatecluster")
        first.learn(others[-1])


@contextmanager
def linked(place: Place, cipher: str, *meshes: Mesh) -> Iterator[None]:
    """Running, each gateway behind an ssh host of its name, which all programs that are run know."""
    program = shutil.which("ssh", path=os.defpath)
    if program is None:
        raise Missing("there is no ssh here")
    gateways = [gateway for mesh in meshes for gateway in mesh.gateways]
    wrapper = place.programs / "ssh"
    sshd = None
    try:
        for mesh in meshes:
            mesh.restart()  # forced commands name the sockets
        sshd = Sshd(place, gateways, cipher, "mesh-ssh")
        directory = place.directory / "mesh-ssh"
        hosts = "".join(f"Host {one.name}\nIdentityFile {directory / one.name}\n" for one in gateways)
        (directory / "gateways").write_text(f"{hosts}Host *\n{(directory / 'config').read_text()}")
        wrapper.write_text(f'#!/bin/sh\nexec {program} -F {directory / "gateways"} "$@"\n')
        wrapper.chmod(0o755)
        yield
    finally:
        wrapper.unlink(missing_ok=True)
        for mesh in meshes:
            mesh.stop()
        if sshd is not None:
            sshd.stop()
