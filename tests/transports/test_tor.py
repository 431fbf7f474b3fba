"""The machine that keeps an onion service published, with a tor that is played by hand."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Unavailable
from annexd.transports.onion import Standing, Told
from annexd.transports.tor import STATES, STIMULI, Publication

HOUR = 3600.0


class PlayedControl:
    def __init__(self, told: Told) -> None:
        self.told = told
        self.percents = [100]
        """What it says at first."""

        self.publishing: list[Deferred[None]] = []
        self.closed = False

    async def follow(self) -> None:
        for percent in self.percents:
            self.told.progress(percent)

    async def publish(self) -> None:
        self.publishing.append(Deferred())
        await self.publishing[-1]

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


class PlayedTor:
    def __init__(self) -> None:
        self.connecting: list[Deferred[PlayedControl]] = []
        self.dialling: list[Deferred[None]] = []
        self.controls: list[PlayedControl] = []
        self.told: list[Told] = []

    async def connect(self, told: Told) -> PlayedControl:
        self.told.append(told)
        self.connecting.append(Deferred())
        control = await self.connecting[-1]
        self.controls.append(control)
        return control

    async def dial(self) -> None:
        self.dialling.append(Deferred())
        await self.dialling[-1]


class Case(SynchronousTestCase):
    check_s: float | None = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.tor = PlayedTor()
        self.heard: list[Standing] = []
        self.service = Publication(self.clock, self.tor, self.heard.append, self.check_s)
        self.addCleanup(self.assert_nothing_left)

    def assert_nothing_left(self) -> None:
        """After `stop`, whatever was going on."""
        self.service.stop()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([c.closed for c in self.tor.controls], [True] * len(self.tor.controls))
        for waiting in (*self.tor.connecting, *self.tor.dialling):
            self.assertTrue(waiting.called)

    @property
    def stage(self) -> str:
        return self.service.standing.stage

    @property
    def control(self) -> PlayedControl:
        return self.tor.controls[-1]

    def turn(self) -> None:
        for _ in range(3):
            self.clock.advance(0)

    def connect(self, *percents: int) -> None:
        control = PlayedControl(self.tor.told[-1])
        control.percents = list(percents) or [100]
        self.tor.connecting[-1].callback(control)
        self.turn()

    def publish(self) -> None:
        self.connect()
        self.control.publishing[-1].callback(None)
        self.control.told.uploaded()
        self.turn()

    def lose(self, reason: str = "it is gone") -> None:
        self.control.told.lost(reason)
        self.turn()


class Life(Case):
    def test_to_the_end(self) -> None:
        self.assertEqual(self.stage, "stopped")
        self.service.start()
        self.assertEqual(self.stage, "connecting")
        self.clock.advance(5)
        self.connect(0, 45)
        self.assertEqual((self.stage, self.service.standing.percent), ("bootstrapping", 45))
        self.clock.advance(HOUR)
        self.control.told.progress(100)
        self.turn()
        self.assertEqual(self.stage, "publishing")
        self.clock.advance(30)
        self.control.publishing[0].callback(None)
        self.turn()
        self.assertEqual(self.stage, "publishing")
        self.control.told.uploaded()
        self.turn()
        self.assertEqual(self.service.standing, Standing("published", since=5 + HOUR + 30))
        self.clock.advance(HOUR)
        self.control.told.uploaded()
        self.turn()
        self.assertEqual(self.service.standing.since, 5 + HOUR + 30)
        self.service.stop()
        self.assertEqual((self.stage, self.control.closed), ("stopped", True))
        told = [(standing.stage, standing.percent) for standing in self.heard]
        self.assertEqual(
            told,
            [
                ("connecting", 0),
                ("bootstrapping", 0),
                ("bootstrapping", 45),
                ("publishing", 0),
                ("published", 0),
                ("stopped", 0),
            ],
        )

    def test_again_after_the_end(self) -> None:
        self.service.start()
        self.service.stop()
        self.service.start()
        self.publish()
        self.assertEqual(self.stage, "published")

    def test_uploaded_before_the_answer(self) -> None:
        self.service.start()
        self.connect()
        self.control.told.uploaded()
        self.turn()
        self.assertEqual(self.stage, "published")
        self.control.publishing[0].callback(None)

    def test_nobody_checks_unasked(self) -> None:
        self.service.start()
        self.publish()
        self.clock.advance(HOUR)
        self.assertEqual(self.tor.dialling, [])


class Trouble(Case):
    def assert_rests(self, seconds: float, reason: str) -> None:
        self.assertEqual((self.stage, self.service.standing.trouble), ("waiting", reason))
        count = len(self.tor.connecting)
        self.clock.advance(seconds - 0.01)
        self.assertEqual(len(self.tor.connecting), count)
        self.clock.advance(0.01)
        self.assertEqual((self.stage, self.service.standing.trouble), ("connecting", reason))
        self.assertEqual(len(self.tor.connecting), count + 1)

    def test_no_control_port(self) -> None:
        """Each pause is twice as long, up to a minute; what has been reached makes it short again."""
        self.service.start()
        for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
            self.tor.connecting[-1].errback(Unavailable("there is none"))
            self.turn()
            self.assert_rests(seconds, "there is none")
        self.publish()
        self.lose()
        self.assert_rests(1, "it is gone")

    def test_a_control_port_that_says_nothing(self) -> None:
        self.service.start()
        self.clock.advance(60)
        self.assertTrue(self.tor.connecting[0].called)
        self.assert_rests(1, "tor does not answer within 60 seconds")

    def test_lost(self) -> None:
        for state in ("bootstrapping", "publishing", "published"):
            self.setUp()
            self.service.start()
            self.connect(*([45] if state == "bootstrapping" else [100]))
            if state == "published":
                self.control.told.uploaded()
                self.turn()
            self.assertEqual(self.stage, state)
            self.lose()
            self.assertTrue(self.control.closed)
            self.assert_rests(1, "it is gone")
            self.assert_nothing_left()

    def test_tor_does_not_take_it(self) -> None:
        """Another one has the address, say."""
        self.service.start()
        self.connect()
        self.control.publishing[0].errback(Unavailable("somebody has it"))
        self.turn()
        self.assertTrue(self.control.closed)
        self.assert_rests(1, "somebody has it")
        self.publish()
        self.assertEqual(self.stage, "published")

    def test_slow_upload(self) -> None:
        """It is waited for; then everything is done again."""
        self.service.start()
        self.connect()
        self.control.publishing[0].callback(None)
        self.clock.advance(299)
        self.assertEqual(self.stage, "publishing")
        self.clock.advance(1)
        self.assert_rests(1, "tor has not published it within 300 seconds")

    def test_old_news(self) -> None:
        """What a connection says that has been given up."""
        self.service.start()
        self.publish()
        former = self.control
        self.lose()
        self.clock.advance(1)
        self.connect()
        former.told.uploaded()
        former.told.lost("gone")
        self.turn()
        self.assertEqual(self.stage, "publishing")

    def test_a_bug(self) -> None:
        """It is told, and tried again."""
        self.service.start()
        with capturedLogs() as events:
            self.tor.connecting[-1].errback(ZeroDivisionError("oh"))
            self.turn()
        self.assertEqual(len(events), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_rests(1, "oh")


class Checks(Case):
    check_s = 600.0

    def setUp(self) -> None:
        super().setUp()
        self.service.start()
        self.publish()

    def answer(self) -> None:
        self.tor.dialling[-1].callback(None)
        self.turn()

    def fail(self, reason: str = "nobody is there") -> None:  # type: ignore[override]
        self.tor.dialling[-1].errback(Unavailable(reason))
        self.turn()

    def test_answers(self) -> None:
        self.assertEqual(self.tor.dialling, [])
        self.clock.advance(5)
        self.assertEqual(self.stage, "published")
        self.answer()
        self.assertEqual(self.service.standing, Standing("reachable", since=5))
        self.clock.advance(600)
        self.answer()
        self.assertEqual((len(self.tor.dialling), self.service.standing.since), (2, 5))

    def test_one_time_in_vain(self) -> None:
        self.clock.advance(5)
        self.fail()
        self.assertEqual((self.stage, self.service.standing.trouble), ("published", "nobody is there"))
        self.clock.advance(10)
        self.answer()
        self.assertEqual((self.stage, self.service.standing.trouble), ("reachable", ""))

    def test_always_in_vain(self) -> None:
        """It is published anew, by the same connection."""
        for seconds in (5, 10, 20):
            self.clock.advance(seconds)
            self.fail()
        self.assertEqual(self.stage, "publishing")
        self.assertEqual((len(self.control.publishing), self.control.closed), (2, False))
        self.assertIn("3 times in a row", self.service.standing.trouble)
        self.control.told.uploaded()
        self.turn()
        self.assertEqual((self.stage, self.service.standing.trouble), ("published", ""))

    def test_no_answer_at_all(self) -> None:
        self.clock.advance(5)
        self.clock.advance(90)
        self.turn()
        self.assertTrue(self.tor.dialling[0].called)
        self.assertIn("within 90 seconds", self.service.standing.trouble)

    def test_lost_meanwhile(self) -> None:
        self.clock.advance(5)
        self.lose()
        self.assertTrue(self.tor.dialling[0].called)
        self.assertEqual(self.stage, "waiting")


ACTS = ("start", "stop", "connect", "refuse", "boot", "progress", "take", "upload", "lose", "answer", "fail")


class Anything(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from([0.0, 1.0, 70.0, 400.0]))))
    def test_whatever_happens(self, acts: list[tuple[str, float]]) -> None:
        """Stopping leaves nothing, at most one connection is open, and a tor that works is made use of."""
        case = Checks("test_answers")
        case.setUp()
        for act, seconds in acts:
            self.act(case, act)
            case.clock.advance(seconds)
            case.turn()
            self.assertLessEqual(sum(not c.closed for c in case.tor.controls), 1)
        case.service.start()
        case.turn()
        case.clock.advance(0)
        for _ in range(4):
            if case.stage not in ("published", "reachable"):
                case.clock.advance(70)
                case.turn()
                if not case.tor.connecting[-1].called:
                    case.connect()
                case.control.told.progress(100)
                case.turn()
                case.control.told.uploaded()
                case.turn()
        self.assertIn(case.stage, ("published", "reachable"))
        case.assert_nothing_left()

    def act(self, case: Checks, act: str) -> None:
        connecting = bool(case.tor.connecting) and not case.tor.connecting[-1].called
        publishing = [d for c in case.tor.controls for d in c.publishing if not d.called]
        dialling = [d for d in case.tor.dialling if not d.called]
        told = case.tor.told[-1]
        match act:
            case "start":
                case.service.start()
            case "stop":
                case.service.stop()
            case "connect" if connecting:
                case.connect(0)
            case "refuse" if connecting:
                case.tor.connecting[-1].errback(Unavailable("no"))
            case "refuse" if publishing:
                publishing[-1].errback(Unavailable("no"))
            case "boot":
                told.progress(100)
            case "progress":
                told.progress(45)
            case "take" if publishing:
                publishing[-1].callback(None)
            case "upload":
                told.uploaded()
            case "lose":
                told.lost("gone")
            case "answer" if dialling:
                dialling[-1].callback(None)
            case "fail" if dialling:
                dialling[-1].errback(Unavailable("no"))

    def test_every_state_takes_every_stimulus(self) -> None:
        """Whatever it makes of it: nothing is left when it has stopped."""
        about = {
            "connected": lambda tor: (PlayedControl(tor.told[-1]),),
            "failed": lambda tor: ("no",),
            "lost": lambda tor: ("no",),
            "silent": lambda tor: ("no",),
            "stale": lambda tor: ("no",),
            "progress": lambda tor: (45,),
        }
        for state, stimulus in itertools.product(STATES, STIMULI):
            case = Checks("test_answers")
            case.setUp()
            self.bring(case, state)
            if (state, stimulus) == ("connecting", "connected"):
                continue  # only with what it has waited for
            getattr(case.service._machine, stimulus)(*about.get(stimulus, lambda tor: ())(case.tor))
            case.turn()
            case.assert_nothing_left()
            self.assertEqual(case.stage, "stopped")

    def bring(self, case: Checks, state: str) -> None:
        """From being published."""
        match state:
            case "stopped":
                case.service.stop()
            case "published":
                return
            case _:
                case.lose()
        if state in ("connecting", "bootstrapping", "publishing"):
            case.clock.advance(1)
        if state in ("bootstrapping", "publishing"):
            case.connect(*([45] if state == "bootstrapping" else [100]))
