"""git-annex at work in the served repository while clients use it, and a daemon that is killed meanwhile."""

from __future__ import annotations

import random
import re
import threading
import time

from tests.support.annex import litter
from tests.support.load import Load, content_of
from tests.support.processes import Failed, until
from tests.support.scenes import FORGOTTEN, Scene
from tests.support.servers import Annexd

_RENOTED = re.compile(FORGOTTEN.pattern + rb"|: Stale or missing inode cache; updating\.$")
# git-annex add notes a file when it is in place; by then clients may have put another one there.


class Hammer(Scene):
    """What git-annex and clients did at the same time is all in the logs, and nothing else is."""

    bare = False
    seconds = 15.0

    def test_hammer(self) -> None:
        other = self.host.directory / "other"
        self.host.git(self.host.directory, "clone", "-q", str(self.served), str(other))
        self.host.annex(other, "init", "-q", "other")
        self.host.git(self.served, "remote", "add", "other", str(other))
        # git-annex's own server ends a session where annexd answers that it cannot now
        load = Load(self.open_session, forgiving=self.server.name != Annexd.name)
        load.start()
        here = threading.Thread(target=self._hammer, args=(load,), daemon=True)
        here.start()
        here.join(self.seconds + 120)
        try:
            load.until_all_done()
        finally:
            load.stop()
        self.assertEqual(load.problems[:3], [])
        self.server.stop()
        self.host.annex(self.served, "merge", "-q")
        self.assert_sound(but=_RENOTED)
        self.assert_tidy()

    def _hammer(self, load: Load) -> None:
        end = time.monotonic() + self.seconds
        turn = 0
        while time.monotonic() < end:
            turn += 1
            try:
                self._turn(turn, load)
            except Failed as error:
                load.problems.append(str(error))
                return

    def _turn(self, turn: int, load: Load) -> None:
        name = f"file{turn}"
        (self.served / name).write_bytes(content_of(turn % load.pool, load.size))
        host, repo = self.host, self.served
        # any of these may find that a client has removed or locked what they want
        host.tries(repo, "add", "-q", "--backend=SHA256", name)
        host.tries(repo, "drop", "-q", "--force", name)
        host.tries(repo, "sync", "-q", "--no-content", "--no-push", "--no-pull", "-m", name)
        host.tries(repo, "get", "-q", "--all", "--from", "other")
        host.tries(repo, "move", "-q", "--all", "--to", "other")
        host.tries(repo, "fsck", "-q", "--fast", "--all")


class Killed(Scene):
    """SIGKILL at any moment costs nothing but what was on its way."""

    kills = 4
    maxDiff = None

    def test_kill(self) -> None:
        daemon = self.annexd().daemon
        chance = random.Random(self.kills)
        load = Load(self.open_session, size=400_000, forgiving=True)
        load.start()
        try:
            for _ in range(self.kills):
                time.sleep(chance.uniform(0.3, 1.5))
                daemon.kill()
                daemon.start()
            load.until_all_done()
        finally:
            load.stop()
        self.assertEqual(load.problems[:3], [])
        # What the last kill has left is made up for when somebody comes.
        self.dialogue().hello(4)
        daemon.stop()
        self.assert_sound()
        self.assert_tidy("partial", "transfer", "content lock", "temporary")
        for name in litter(self.git_dir).get("partial", []):
            self.assertTrue(name.encode() in load.keys(), name)

    def test_upload_resumes(self) -> None:
        daemon = self.annexd().daemon
        content = content_of(1, 2_000_000)
        dialogue = self.dialogue()
        dialogue.hello(4)
        load = Load(self.open_session, size=len(content))
        key = load.keys()[1]
        self.assertEqual(dialogue.ask(b"PUT  " + key), b"PUT-FROM 0")
        dialogue.send(b"DATA %d\n" % len(content) + content[:1_500_000])
        partial = self.git_dir / "annex" / "tmp" / key.decode()
        until(lambda: partial.exists() and partial.stat().st_size >= 1_000_000, "most of it has come")
        daemon.kill()
        dialogue.close()
        daemon.start()
        again = self.dialogue()
        again.hello(4)
        reply = again.ask(b"PUT  " + key)
        offset = int(reply.split()[1])
        self.assertTrue(1_000_000 <= offset <= 1_500_000, reply)
        again.send(b"DATA %d\n" % (len(content) - offset) + content[offset:] + b"VALID\n")
        self.assertEqual(again.line(), b"SUCCESS")
        again.finish()
        self.assert_sound()
        self.assert_tidy()
