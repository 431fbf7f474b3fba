"""What the parts of one session's cluster have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from annexd.router.errands import Errands
from annexd.router.limits import Limits
from annexd.router.members import Members
from annexd.router.ports import Wishes
from annexd.router.recording import Recording
from annexd.router.uploads import Uploads


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
