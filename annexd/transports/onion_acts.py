"""What the machine in `annexd.transports.tor` does on its way from state to state."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import AnnexdError, Unavailable
from annexd.transports.onion import Control, Standing, Tor

_log = Logger()

_CONNECT_S = 60.0
"""A tor that annexd starts has to come up in it, too."""

_PUBLISH_S = 300.0
"""Until the first directory has the descriptor: seconds as a rule, minutes in bad times."""

_DIAL_S = 90.0
_FIRST_DIAL_S = 5.0
_SILENCES = 3
"""So many dials in vain, one after the other, and the service is published anew."""

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Stimuli(Protocol):
    """What may happen to the machine."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def connected(self, control: Control) -> None: ...
    def failed(self, reason: str) -> None: ...
    def lost(self, reason: str) -> None: ...
    def late(self) -> None: ...
    def progress(self, percent: int) -> None: ...
    def booted(self) -> None: ...
    def uploaded(self) -> None: ...
    def due(self) -> None: ...
    def answered(self) -> None: ...
    def silent(self, reason: str) -> None: ...
    def stale(self, reason: str) -> None: ...
    def rested(self) -> None: ...


@dataclass(slots=True)
class Core:
    """
    What the machine has in its hands.  ``round`` counts the times that it let
    go of everything: what an earlier round still has to say is not heard.
    """

    clock: IReactorTime
    tor: Tor
    check_s: float | None
    tell: Callable[[Standing], None]
    standing: Standing = field(default_factory=lambda: Standing("stopped"))
    control: Control | None = None
    works: set[Deferred[None]] = field(default_factory=set)
    timer: IDelayedCall | None = None
    round: int = 0
    failures: int = 0
    silences: int = 0

    def stand(self, stage: str, percent: int = 0, trouble: str = "") -> None:
        same = stage == self.standing.stage
        since = self.standing.since if same else self.clock.seconds()
        self.standing = Standing(stage, since, percent, trouble)
        self.tell(self.standing)

    def begin(self, work: Coroutine[Deferred[Any], Any, None], failed: Callable[[str], None]) -> None:
        running: Deferred[None] = Deferred.fromCoroutine(work)
        self.works.add(running)
        running.addErrback(self._ended, failed, self.round)
        running.addBoth(lambda _: self.works.discard(running))

    def _ended(self, failure: Failure, failed: Callable[[str], None], round: int) -> None:
        if isinstance(failure.value, CancelledError):
            return
        if not isinstance(failure.value, AnnexdError):
            _log.failure("keeping an onion service published", failure)
        self.feed(round, failed, str(failure.value))

    def feed(self, round: int, stimulus: Callable[..., None], *about: object) -> None:
        """A turn later: now the machine may be half-way between two states."""
        self.clock.callLater(0, self._fed, round, stimulus, about)

    def _fed(self, round: int, stimulus: Callable[..., None], about: tuple[object, ...]) -> None:
        if round == self.round:
            stimulus(*about)

    def set_timer(self, seconds: float, stimulus: Callable[[], None]) -> None:
        self.clear_timer()
        self.timer = self.clock.callLater(seconds, stimulus)

    def clear_timer(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def let_go(self) -> None:
        self.round += 1
        self.clear_timer()
        for work in list(self.works):
            work.cancel()
        control, self.control = self.control, None
        if control is not None:
            control.close()


@dataclass(frozen=True, slots=True)
class _Ear:
    """`Told` for one round."""

    machine: Stimuli
    core: Core
    round: int

    def progress(self, percent: int) -> None:
        if percent >= 100:
            self.core.feed(self.round, self.machine.booted)
        else:
            self.core.feed(self.round, self.machine.progress, percent)

    def uploaded(self) -> None:
        self.core.feed(self.round, self.machine.uploaded)

    def lost(self, reason: str) -> None:
        self.core.feed(self.round, self.machine.lost, reason)

    def adrift(self, reason: str) -> None:
        self.core.feed(self.round, self.machine.stale, reason)


# --- acts ------------------------------------------------------------------------


def connect(machine: Stimuli, core: Core) -> None:
    core.stand("connecting", trouble=core.standing.trouble)
    core.set_timer(_CONNECT_S, machine.late)
    round = core.round

    async def work() -> None:
        core.control = await core.tor.connect(_Ear(machine, core, round))
        core.feed(round, machine.connected, core.control)

    core.begin(work(), machine.failed)


def follow(machine: Stimuli, core: Core, control: Control) -> None:
    """For as long as it takes: without a network tor gets nowhere, and goes on when there is one."""
    core.clear_timer()
    core.begin(_of(control.follow()), machine.failed)


def proceed(machine: Stimuli, core: Core, percent: int) -> None:
    if (core.standing.stage, core.standing.percent) != ("bootstrapping", percent):
        core.stand("bootstrapping", percent)


def publish(machine: Stimuli, core: Core) -> None:
    core.stand("publishing")
    _publish(machine, core)


def publish_anew(machine: Stimuli, core: Core, reason: str) -> None:
    core.stand("publishing", trouble=reason)
    _publish(machine, core)


def _publish(machine: Stimuli, core: Core) -> None:
    core.silences = 0
    core.set_timer(_PUBLISH_S, machine.late)
    assert core.control is not None
    core.begin(_of(core.control.publish()), machine.failed)


def rejoice(machine: Stimuli, core: Core) -> None:
    core.failures = 0
    core.clear_timer()
    core.stand("published")
    if core.check_s is not None:
        core.set_timer(_FIRST_DIAL_S, machine.due)


def dial(machine: Stimuli, core: Core) -> None:
    round = core.round

    async def work() -> None:
        dialling: Deferred[None] = Deferred.fromCoroutine(_of(core.tor.dial()))
        await dialling.addTimeout(_DIAL_S, core.clock, _no_answer)
        core.feed(round, machine.answered)

    core.begin(work(), machine.silent)


def _no_answer(result: object, seconds: float) -> None:
    raise Unavailable(f"its own address does not answer within {seconds:g} seconds")


def take_answer(machine: Stimuli, core: Core) -> None:
    assert core.check_s is not None
    core.silences = 0
    core.stand("reachable")
    core.set_timer(core.check_s, machine.due)


def take_silence(machine: Stimuli, core: Core, reason: str) -> None:
    """It may be the way there, and the next dial may take another one."""
    assert core.check_s is not None
    core.silences += 1
    core.stand("published", trouble=reason)
    if core.silences >= _SILENCES:
        core.feed(core.round, machine.stale, f"{reason}, {_SILENCES} times in a row")
    else:
        core.set_timer(min(core.check_s, _FIRST_DIAL_S * 2**core.silences), machine.due)


def rest(machine: Stimuli, core: Core, reason: str) -> None:
    core.let_go()
    core.stand("waiting", trouble=reason)
    pause = min(_FIRST_PAUSE_S * 2 ** min(core.failures, 10), _LONGEST_PAUSE_S)
    core.failures += 1
    core.set_timer(pause, machine.rested)


def give_up_connecting(machine: Stimuli, core: Core) -> None:
    rest(machine, core, f"tor does not answer within {_CONNECT_S:g} seconds")


def give_up_publishing(machine: Stimuli, core: Core) -> None:
    rest(machine, core, f"tor has not published it within {_PUBLISH_S:g} seconds")


def stop(machine: Stimuli, core: Core) -> None:
    core.let_go()
    core.stand("stopped")


async def _of(work: Any) -> None:
    """The same as a coroutine."""
    await work
