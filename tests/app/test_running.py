"""Other programs, real ones: /bin/sh is everywhere."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from annexd.app import running
from annexd.app.running import Ended, run
from annexd.errors import Unavailable


def the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def sh(script: str, seconds: float = 60.0) -> Deferred[Ended]:
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

    async def test_what_it_leaves_behind_is_not_waited_for(self) -> None:
        ended = await sh("sleep 60 & echo $!", 60)
        self.assertEqual(ended.code, 0)
        os.kill(int(ended.output), signal.SIGKILL)  # it is there still

    async def test_what_is_said_without_end_is_not_kept(self) -> None:
        ended = await sh("head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2; exit 4")
        self.assertEqual((ended.code, len(ended.output), len(ended.said)), (4, 65536, 300))

    async def test_too_long(self) -> None:
        begin = time.monotonic()
        with self.assertRaisesRegex(Unavailable, "sh did not end within 1 seconds: well"):
            await sh("echo well >&2; sleep 60 & sleep 60", 1)
        self.assertLess(time.monotonic() - begin, 30)

    async def test_nobody_waits_any_more(self) -> None:
        program = sh("exec sleep 30")
        await deferLater(the_reactor(), 0.05)
        program.cancel()
        with self.assertRaises(CancelledError):
            await program

    async def test_who_does_not_hear(self) -> None:
        """It and what it has started are gone when it has been called off."""
        self.patch(running, "_GRACE_S", 0.1)
        path = self.mktemp()
        script = f"trap '' TERM; sleep 30 & echo $! $$ >{path}.new; mv {path}.new {path}; sleep 30; sleep 30"
        program = sh(f"cd {os.getcwd()}; {script}")
        while not os.path.exists(path):
            await deferLater(the_reactor(), 0.01)
        program.cancel()
        with self.assertRaises(CancelledError):
            await program
        with open(path) as file:
            for pid in file.read().split():
                self.assertFalse(await self.lives(int(pid)))

    async def lives(self, pid: int) -> bool:
        """What is not our child is reaped by somebody else, a moment later."""
        for _ in range(3000):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        return False
            except (FileNotFoundError, ProcessLookupError):
                return False
            await deferLater(the_reactor(), 0.01)
        return True
