"""An onion service that has lost its introduction points."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Unavailable
from annexd.transports.onion_moorings import Moorings

ADDRESS = "a" * 56
BUILT = "9 BUILT $F~x,$G~y BUILD_FLAGS=IS_INTERNAL PURPOSE=HS_VANGUARDS"


def circuit(status: str, state: str = "ESTABLISHED", address: str = ADDRESS) -> str:
    return f"7 {status} $F~x PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_{state} REND_QUERY={address} REASON=x"


class Lost(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[str]] = []
        self.adrift = 0
        self.moorings = Moorings(self.clock, f"{ADDRESS}.onion", self.circuits, self.told)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.moorings.close)

    def circuits(self) -> Deferred[str]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def told(self) -> None:
        self.adrift += 1

    def hear(self, *said: str) -> None:
        for line in said:
            self.moorings.heard(line)
        self.clock.advance(5)

    def test_when_there_is_a_network_again(self) -> None:
        """And not before."""
        self.hear(circuit("CLOSED"), *[circuit("FAILED", "CONNECTING")] * 30)
        self.assertEqual(self.asked, [])
        self.hear(BUILT, BUILT)
        [asked] = self.asked
        asked.callback("\n".join([circuit("BUILT", "CONNECTING"), circuit("BUILT", address="b" * 56), BUILT]))
        self.assertEqual(self.adrift, 1)
        self.hear(BUILT)
        self.assertEqual((len(self.asked), self.adrift), (1, 1))

    def test_tor_helps_itself(self) -> None:
        self.hear(circuit("CLOSED"))
        self.hear(BUILT)
        self.asked[0].callback(f"circuit-status=\n{circuit('BUILT')}\nOK")
        self.assertEqual(self.adrift, 0)

    def test_bad_luck(self) -> None:
        """A few that fail, or those of somebody else, are nothing special."""
        self.hear(*[circuit("FAILED", "CONNECTING")] * 11, BUILT)
        self.hear(*[circuit("CLOSED", address="b" * 56)] * 20, BUILT, "", "1", "1 BUILT")
        self.assertEqual(self.asked, [])

    def test_never_there(self) -> None:
        """As when it is published while there is no network."""
        self.hear(*[circuit("FAILED", "CONNECTING")] * 12, BUILT)
        self.asked[0].callback("circuit-status=")
        self.assertEqual(self.adrift, 1)

    def test_of_no_use(self) -> None:
        """Longer and longer, until it has been published."""
        for seconds in (5, 10, 20):
            self.moorings.heard(circuit("CLOSED"))
            self.moorings.heard(BUILT)
            self.clock.advance(seconds - 1)
            self.assertEqual([asked for asked in self.asked if not asked.called], [])
            self.clock.advance(1)
            self.asked[-1].callback("")
        self.moorings.published()
        self.hear(circuit("CLOSED"), BUILT)
        self.assertEqual((len(self.asked), self.adrift), (4, 3))

    def test_tor_does_not_say(self) -> None:
        """It is asked again at the next sign."""
        self.hear(circuit("CLOSED"), BUILT)
        self.asked[0].errback(Unavailable("x"))
        self.hear(BUILT)
        self.assertEqual((len(self.asked), self.adrift), (2, 0))
        self.asked[1].callback("")
        self.assertEqual(self.adrift, 1)

    def test_the_end(self) -> None:
        self.hear(circuit("CLOSED"), BUILT)
        self.moorings.close()
        self.assertEqual(self.adrift, 0)
        self.moorings.close()
