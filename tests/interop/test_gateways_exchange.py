"""What one gateway knows is known to the others seconds later, whichever is told of it."""

from __future__ import annotations

import time

from tests.support.load import content_of, key_of
from tests.support.processes import until
from tests.support.several_gateways import ANNEXD, ONE_WAY, STOCK, TWO_WAY, Gateway, GatewaysScene

_SOON = 60.0
"""Seconds; a few are enough on an idle machine."""


class Exchange(GatewaysScene):
    """Each upload is to a gateway's own node, so that only this gateway learns of it."""

    def upload(self, gateway: Gateway, number: int) -> bytes:
        content = content_of(number, 10_000)
        key = key_of(content)
        session = self.session(gateway, gateway.node_uuid)
        self.assertEqual(session.put(key, content).split()[0], b"SUCCESS", self.said())
        session.finish()  # git-annex-shell tells its location log now
        return key

    def open(self, gateway: Gateway) -> None:
        """From now on it watches its branch."""
        session = self.session(gateway, gateway.node_uuid)
        session.ask(b"CHECKPRESENT " + key_of(b""))
        session.close()

    def await_known(self, to: Gateway, key: bytes, at: Gateway) -> None:
        what = f"{to.name} knows what was uploaded to {at.name}"
        until(lambda: self.logged(to, key) == {at.name}, what, _SOON)

    def pushes(self) -> int:
        return self.said().count("git-receive-pack by")

    def await_quiet(self, seconds: float) -> None:
        """Fails when it has not become quiet for so long in a minute."""
        end = time.monotonic() + _SOON
        since, count = time.monotonic(), self.pushes()
        while time.monotonic() < since + seconds:
            self.assertLess(time.monotonic(), end + seconds, self.said())
            time.sleep(0.2)
            if self.pushes() != count:
                since, count = time.monotonic(), self.pushes()

    def assert_sound(self) -> None:
        for gateway in self.gateways:
            self.host.git(gateway.path, "fsck", "--no-dangling", "--no-progress")


class Chain(Exchange):
    kinds = (ANNEXD,) * 3
    links = ((1, 2), (2, 1), (2, 3), (3, 2))
    quiet_s = 5.0

    def test_from_end_to_end(self) -> None:
        first, second, third = self.gateways
        self.open(third)
        self.open(second)
        self.await_known(third, self.upload(first, 1), first)
        self.at_both_ends_at_once()
        self.await_quiet(self.quiet_s)
        self.assertNotIn("not heard of", self.said())
        self.assertEqual({cable.connections for cable in self.cables.values()}, {1})
        self.one_is_away()
        self.assert_sound()
        self.assertNotIn("rejected", self.said())

    def at_both_ends_at_once(self) -> None:
        first, _, third = self.gateways
        here = [self.upload(first, number) for number in range(10, 14)]
        there = [self.upload(third, number) for number in range(20, 24)]
        for key in here:
            self.await_known(third, key, first)
        for key in there:
            self.await_known(first, key, third)

    def one_is_away(self) -> None:
        """That is said once, and made up for later."""
        first, second, third = self.gateways
        cables = self.cables[1, 2], self.cables[2, 1]
        for cable in cables:
            cable.refuse()
        key = self.upload(first, 30)
        lost = "what G2 knows is not exchanged"
        until(lambda: lost in first.annexd.daemon.said(), "G1 says that G2 is away", _SOON)
        self.upload(first, 31)
        self.assertEqual(self.logged(third, key), set())
        for cable in cables:
            cable.mend()
        self.await_known(second, key, first)
        self.await_known(third, key, first)
        again = "what G2 knows is exchanged again"
        until(lambda: again in first.annexd.daemon.said(), "G1 says that G2 is back", _SOON)
        said = first.annexd.daemon.said()
        self.assertEqual((said.count(lost), said.count(again)), (1, 1))


class Off(Exchange):
    links = TWO_WAY
    nodes = GatewaysScene.nodes + "exchange = false\n"

    def test_nothing_is_exchanged(self) -> None:
        first, second = self.gateways
        self.open(second)
        key = self.upload(first, 1)
        time.sleep(4)  # that nothing happens can only be waited for
        self.assertEqual(self.logged(second, key), set())
        self.assertEqual((self.pushes(), self.said().count("git-upload-pack by")), (0, 0))


class WithStock(Exchange):
    kinds = (ANNEXD, STOCK)
    links = ONE_WAY

    def test_with_a_gateway_of_git_annexs(self) -> None:
        """It is told, and tells whenever there is news there; it does not even know of us."""
        first, second = self.gateways
        there = self.upload(second, 1)
        self.await_known(second, self.upload(first, 2), first)
        self.await_known(first, there, second)
        self.await_known(first, self.upload(second, 3), second)
        self.assertEqual(self.cables[1, 2].connections, 1)
        self.assert_sound()
        self.assertNotIn("not exchanged", self.said())
