"""Gateways of which two are joined by tor only, in loops with a third: the real tor."""

from __future__ import annotations

import re
from pathlib import Path

from tests.interop import test_gateways
from tests.support.gateways import CLUSTER
from tests.support.load import content_of, key_of
from tests.support.onion_scene import network, service_tor
from tests.support.processes import run, until
from tests.support.programs import annexd_program
from tests.support.servers import Annexd
from tests.support.several_gateways import ANNEXD, Gateway, mesh

_REACHED_S = 90.0
_SOON_S = 60.0


class Loops(test_gateways.TwoOneWay):
    """G1 and G2 are onions for each other; both are joined with G3 by ssh, both ways."""

    kinds = (ANNEXD,) * 3
    links = mesh(3)
    rounds = 0

    def setUp(self) -> None:
        self.network, _ = network()
        self.control = service_tor(self.network)
        super().setUp()
        self.update()
        for one, other in ((0, 1), (1, 0)):
            self.await_reached(self.gateways[one], self.gateways[other])

    def annexd_for(self, gateway: Gateway) -> Annexd:
        annexd = super().annexd_for(gateway)
        tor = f'tor-socks = "{self.network.socks}"\n'
        listen = f'[listen.tor]\ncontrol = "{self.control}"\n' if gateway.name != "G3" else ""
        config = self.config(gateway)
        config.write_text(
            config.read_text()
            .replace("[nodes]\n", f"[nodes]\n{tor}")
            .replace("[daemon]\n", self.state(gateway))
            + listen
        )
        return annexd

    def config(self, gateway: Gateway) -> Path:
        return self.directory / f"{gateway.name}.toml"

    def state(self, gateway: Gateway) -> str:
        return f'[daemon]\nstate-directory = "{self.directory}/state-{gateway.name}"\n'

    def link(self, one: int, other: int) -> None:
        if 3 in (one, other):
            super().link(one, other)
            return
        here, there = self.gateways[one - 1], self.gateways[other - 1]
        options = ("--config", self.config(there), "--socket", self.directory / "no-daemon")
        argv = ("invite", here.name, "--tor", "--mode", "read-write", "--all-nodes", "--repo", there.path)
        said = run(annexd_program("annexd"), *argv, *options, cwd=self.directory, env=self.host.env).decode()
        lines = re.findall(r"^tor-annex::(.*):(\w+)$", said, re.MULTILINE)
        assert lines, said
        uuids = {there.name.lower(): there.uuid, CLUSTER: self.cluster_uuid}
        creds = here.path / "annex" / "creds"
        creds.mkdir(exist_ok=True)
        for address, token in lines:
            label, host = address.rpartition("-")[0], address.rpartition(":")[0]
            name = there.name if label == there.name.lower() else f"{there.name}-{label}"
            uuid = uuids.get(label, there.node_uuid)
            (creds / re.sub(r"[^A-Za-z0-9]", lambda odd: f"%{ord(odd[0]):X}", host)).write_text(token)
            self.host.git(here.path, "remote", "add", name, f"tor-annex::{address}")
            self.host.git(here.path, "config", f"remote.{name}.annex-uuid", uuid.decode())
        gateway_of = f"remote.{there.name}.annex-cluster-gateway"
        self.host.git(here.path, "config", gateway_of, self.cluster_uuid.decode())

    def update(self) -> None:
        """Not by git-annex, which sees nothing behind a tor-annex remote."""
        for _ in range(2):
            for number, gateway in enumerate(self.gateways, 1):
                for one, other in self.links:
                    if one == number:
                        self.fetch(gateway, self.gateways[other - 1])
                self.host.annex(gateway.path, "merge")
                socket = gateway.annexd.daemon.socket_option
                argv = (annexd_program("annexd"), "cluster", "update", gateway.path, *socket)
                run(*argv, cwd=self.directory, env=gateway.annexd.daemon.env)

    def await_reached(self, here: Gateway, there: Gateway) -> None:
        absent = b"CHECKPRESENT " + key_of(b"")

        def reached() -> bool:
            session = self.session(here, there.node_uuid)
            try:
                return session.ask(absent) == b"FAILURE"
            finally:
                session.close()

        until(reached, f"{here.name} reaches {there.name}", _REACHED_S)

    def test_who_gets_what(self) -> None:
        """And what one of the two learns, the other knows soon, with the third one away."""
        super().test_who_gets_what()
        first, second, third = self.gateways
        third.annexd.stop()
        for number, (here, there) in enumerate(((first, second), (second, first))):
            content = content_of(100 + number, 10_000)
            key = key_of(content)
            session = self.session(here, here.node_uuid)
            self.assertEqual(session.put(key, content).split()[0], b"SUCCESS", self.said())
            what = f"{there.name} knows what was uploaded to {here.name}"
            until(lambda: self.logged(there, key) == {here.name}, what, _SOON_S)  # noqa: B023
            session.close()
