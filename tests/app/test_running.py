"""Other programs, real ones: /bin/sh is everywhere."""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from annexd.app.running import Ended, run
from annexd.errors import Unavailable


def the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def sh(script: str, seconds: float = 10.0) -> Deferred[Ended]:
    environ = {b"PATH": os.fsencode(os.defpath)}
    argv = [b"/bin/sh", b"-c", script.encode()]
    return Deferred.fromCoroutine(run(the_reactor(), argv, cwd=b"/", environ=environ, seconds=seconds))


class RunTests(TestCase):
    async def test_what_it_says(self) -> None:
        ended = await sh("pwd; echo oh >&2; echo no >&2; exit 3")
        self.assertEqual(ended, Ended(3, b"/\n", "oh; no"))

    async def test_what_cannot_be_started(self) -> None:
        with self.assertRaises(Unavailable):
            await run(the_reactor(), [b"/no/such"], cwd=b"/", environ={}, seconds=1)

    async def test_too_long(self) -> None:
        begin = time.monotonic()
        with self.assertRaisesRegex(Unavailable, "sh did not end within 0.2 seconds: well"):
            await sh("echo well >&2; sleep 30 & sleep 30", 0.2)
        self.assertLess(time.monotonic() - begin, 10)
        await self.tidied()

    async def test_nobody_waits_any_more(self) -> None:
        running = sh("exec sleep 30")
        await deferLater(the_reactor(), 0.05)
        running.cancel()
        with self.assertRaises(CancelledError):
            await running
        await self.tidied()

    async def tidied(self) -> None:
        """The second word, which is put off, is not needed here."""
        for call in the_reactor().getDelayedCalls():
            if "insist" in str(call):
                call.reset(0)
        await deferLater(the_reactor(), 0.05)
