"""
What repositories want: git-annex and annexd asked the same, thousands of times.

Known to differ, and not asked here: annex.numcopies in .gitattributes and
trust levels in git's configuration are not known to annexd; ``securehash`` of
keys of external backends is what their programs say; ``include=`` with a bad
glob makes git-annex hang or fail; parentheses nested by the hundred.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol.keys import Key
from annexd.router.knowledge import Knowledge
from annexd.router.ports import Wish
from annexd.router.preferred import Judge, Question
from tests.support.annex import Machine
from tests.support.preferred_scene import PreferredScene, Worlds
from tests.support.processes import run


class Preferred(SynchronousTestCase):
    """Every world is eight expressions for a hundred and fifty files."""

    worlds = 14
    seeds = (20261128,)

    def test_random_expressions(self) -> None:
        found = []
        for seed in self.seeds:
            scene = PreferredScene(Path(self.mktemp()).resolve(), seed)
            worlds = Worlds(seed)
            for number in range(self.worlds):
                found += scene.differences(worlds.standard() if number % 4 == 0 else worlds.one())
        self.assertEqual(found, [])


class WithoutFile(SynchronousTestCase):
    """Keys that no file has: what git-annex sends to a special remote when it looks at all keys."""

    expressions = (
        "include=*",
        "exclude=*",
        "unused",
        "not unused",
        "inpreferreddir",
        "not inpreferreddir",
        "smallerthan=30 and copies=1",
        "standard",
        "nonsense",
        "not present",
        "",
    )

    def setUp(self) -> None:
        self.machine = Machine(Path(self.mktemp()).resolve())
        self.repo = self.machine.new("here")
        self.keys = set()
        for size in (1, 22, 333):
            key = self.machine.calc_key(self.repo, b"x" * size)
            self.machine.set_key(self.repo, key, b"x" * size)
            self.keys.add(key)
        self.machine.annex(self.repo, "unused")
        self.stored = self.machine.directory / "remote"
        self.stored.mkdir()
        where = f"directory={self.stored}"
        self.machine.annex(self.repo, "initremote", "it", "type=directory", where, "encryption=none")
        self.clock = itertools.count(1)
        self.remote = self.machine.git(self.repo, "config", "remote.it.annex-uuid").strip()

    def test_all(self) -> None:
        here = self.machine.uuid(self.repo)
        for expression in self.expressions:
            judge = Judge(Knowledge(preferred={self.remote: expression.encode()}), {})
            questions = [
                Question(Key.parse(key), None, frozenset((here,)), {}, unused=True) for key in self.keys
            ]
            ours = {q.key.raw for q in questions if judge.wish(self.remote, q) is Wish.WANTED}
            self.assertEqual(self._sent(expression), ours, expression)

    def _sent(self, expression: str) -> set[bytes]:
        journal = self.repo / ".git" / "annex" / "journal"
        journal.mkdir(exist_ok=True)
        line = b"%s %s timestamp=%ds\n" % (self.remote, expression.encode(), next(self.clock))
        (journal / "preferred-content.log").write_bytes(line)
        self.machine.annex(self.repo, "satisfy", "--all", "it")
        sent = {key for key in self.keys if list(self.stored.rglob(os.fsdecode(key)))}
        gone = b"".join(b"%s %s 0\n" % (key, self.remote) for key in sent)
        run("git-annex", "setpresentkey", "--batch", cwd=self.repo, env=self.machine.env, stdin=gone)
        shutil.rmtree(self.stored)
        self.stored.mkdir()
        return sent
