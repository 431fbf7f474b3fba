"""Everything that writes to a git-annex branch at once, for ``ANNEXD_SOAK_SECONDS``."""

from __future__ import annotations

import os
from pathlib import Path
from random import SystemRandom

from twisted.trial import unittest

from tests.support.annex import Machine
from tests.support.hammering import hammer

SECONDS = float(os.environ.get("ANNEXD_SOAK_SECONDS", "60"))
ROLES = ["annexd", "annexd", "git-annex", "clone", "chores", "dying"]


class Hammered(unittest.TestCase):
    timeout = SECONDS + 300
    maxDiff = None

    def hammer(self, bare: bool) -> None:
        machine = Machine(Path(self.mktemp()).absolute())
        repository = machine.new("hammered", bare=bare)
        # On a busy machine git's own 100 ms for the others' locks are too few, for git-annex as for git.
        for name in ("core.filesRefLockTimeout", "core.packedRefsTimeout"):
            machine.git(repository, "config", name, "5000")
        seed = str(SystemRandom().getrandbits(64))
        problems = hammer(str(repository), ROLES, SECONDS / 2, seed, machine.env)
        self.assertEqual("\n".join(problems), "", f"seed {seed}")

    def test_bare(self) -> None:
        self.hammer(bare=True)

    def test_with_work_tree(self) -> None:
        self.hammer(bare=False)
