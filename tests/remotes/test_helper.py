"""Helper programs, real ones: /bin/sh is everywhere."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from annexd.errors import PeerLost
from annexd.protocol.messages import Auth
from annexd.remotes import helper
from annexd.remotes.helper import HelperDialer, Helpers
from annexd.remotes.url import P2PAnnex
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from tests.support.far_tls import given


def the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class HelperTests(TestCase):
    timeout = 120

    async def started(self, script: str) -> tuple[Helpers, Wire, str]:
        """The file is there when the program runs, and has its process id."""
        top = os.path.abspath(self.mktemp())
        os.mkdir(top)
        with open(os.path.join(top, "git-annex-p2p-test"), "w") as file:
            file.write(f"#!/bin/sh\n{script.replace('READY', f'echo $$ >{top}/x; mv {top}/x {top}/pid')}\n")
        os.chmod(file.name, 0o755)
        helpers, wire = Helpers(), Wire(the_reactor(), Deadlines())
        environ = {"PATH": f"{top}:{os.defpath}"}
        dialer = HelperDialer(the_reactor(), P2PAnnex("test", "x"), given(Auth(b"", b"")), environ, helpers)
        await dialer.connect(wire)
        while not os.path.exists(f"{top}/pid"):
            await deferLater(the_reactor(), 0.01)
        with open(f"{top}/pid") as file:
            return helpers, wire, file.read().strip()

    async def test_none_outlives_the_daemon(self) -> None:
        self.patch(helper, "_GRACE_S", 0.1)
        helpers, wire, pid = await self.started("trap '' TERM; READY; while :; do sleep 0.02; done")
        self.assertEqual(len(helpers.running), 1)
        wire.abort(PeerLost("over"))
        await helpers.close()
        self.assertEqual(helpers.running, set())
        self.assertFalse(os.path.exists(f"/proc/{pid}"))

    async def test_one_that_ends_by_itself(self) -> None:
        helpers, wire, pid = await self.started("READY; cat")
        wire.hang_up()
        while helpers.running:
            await deferLater(the_reactor(), 0.01)
        await helpers.close()
