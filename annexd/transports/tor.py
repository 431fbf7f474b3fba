"""
Keeps an onion service published, whatever becomes of the tor that does it.

Connections are lost, tor is started again, the network goes away: each time
the machine lets go of all that it has, rests for a while, and begins anew.
Nobody waits for it; who wants to know where it stands is told.

``connecting`` to tor's control port, ``bootstrapping`` (tor is on its way into
the network), ``publishing`` (until a directory has the descriptor),
``published`` (and dialled every now and then, where that is wanted),
``resting`` after something went wrong, ``stopped``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automat import TypeMachineBuilder
from twisted.internet.interfaces import IReactorTime

from annexd.transports import onion_acts as acts
from annexd.transports.onion import Standing, Tor
from annexd.transports.onion_acts import Core, Stimuli

_ALIVE = ("connecting", "bootstrapping", "publishing", "published")
_TABLE: tuple[tuple[str, Any, str, Any], ...] = (
    ("stopped", Stimuli.start, "connecting", acts.connect),
    ("connecting", Stimuli.connected, "bootstrapping", acts.follow),
    ("connecting", Stimuli.late, "resting", acts.give_up_connecting),
    ("bootstrapping", Stimuli.progress, "bootstrapping", acts.proceed),
    ("bootstrapping", Stimuli.booted, "publishing", acts.publish),
    ("publishing", Stimuli.uploaded, "published", acts.rejoice),
    ("publishing", Stimuli.stale, "publishing", acts.publish_anew),
    ("publishing", Stimuli.late, "resting", acts.give_up_publishing),
    ("published", Stimuli.due, "published", acts.dial),
    ("published", Stimuli.answered, "published", acts.take_answer),
    ("published", Stimuli.silent, "published", acts.take_silence),
    ("published", Stimuli.stale, "publishing", acts.publish_anew),
    ("resting", Stimuli.rested, "connecting", acts.connect),
    *((state, Stimuli.lost, "resting", acts.rest) for state in _ALIVE),
    *((state, Stimuli.failed, "resting", acts.rest) for state in _ALIVE),
    *((state, Stimuli.stop, "stopped", acts.stop) for state in (*_ALIVE, "resting")),
)
STATES = ("stopped", *_ALIVE, "resting")
STIMULI = tuple(name for name in vars(Stimuli) if not name.startswith("_"))


def _make() -> Callable[[Core], Stimuli]:
    builder = TypeMachineBuilder(Stimuli, Core)
    states = {name: builder.state(name) for name in STATES}
    for former, stimulus, latter, act in _TABLE:
        states[former].upon(stimulus).to(states[latter])(act)
    # Tor says much, and at any time: what the table does not have is of no interest then.
    wanted = {(former, stimulus.__name__) for former, stimulus, _, _ in _TABLE}
    for name, state in states.items():
        for stimulus in STIMULI:
            if (name, stimulus) not in wanted:
                state.upon(getattr(Stimuli, stimulus)).to(state).returns(None)
    return builder.build()


_machine = _make()


class Publication:
    """
    An onion service of ``tor``'s; ``check_s`` is the time between two dials of
    its own address, `None` for none; ``tell`` gets every `Standing`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tor: Tor,
        tell: Callable[[Standing], None],
        check_s: float | None = None,
    ) -> None:
        self._core = Core(clock, tor, check_s, tell)
        self._machine = _machine(self._core)

    @property
    def standing(self) -> Standing:
        return self._core.standing

    def start(self) -> None:
        self._machine.start()

    def stop(self) -> None:
        """At any moment, and as often as one likes; tor has been let go of when it returns."""
        self._machine.stop()
