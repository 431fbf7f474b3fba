"""What the parts of one session's cluster have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from annexd.router.errands import Errands
from annexd.router.limits import Limits
from annexd.router.members import Members
from annexd.router.ports import Wishes
from annexd.router.recording import Recording
from annexd.router.uploads import Uploads

_SAMPLE_S = 0.1


class Samples:
    """For what is worth doing now and then, but not each time."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next = 0.0

    def take(self) -> bool:
        """Whether to do it this time."""
        now = self._clock.seconds()
        if now < self._next:
            return False
        self._next = now + _SAMPLE_S
        return True


@dataclass(frozen=True, slots=True)
class Parts:
    """``uuid`` is the cluster's, ``boot`` seconds of a clock that never goes back."""

    uuid: bytes
    members: Members
    log: Recording
    wishes: Wishes
    uploads: Uploads
    errands: Errands
    limits: Limits
    boot: Callable[[], float]
    samples: Samples
