"""git-annex at work on one repository; a shell script plays it here."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import TestCase

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo.delegate import GitAnnex
from tests.support.processes import until

KEY = Key.parse(b"WORM-s3-m1--a b\xff")


class GitAnnexTests(TestCase):
    def setUp(self) -> None:
        self.git_dir = os.fsencode(os.path.abspath(self.mktemp()))
        os.makedirs(self.git_dir)
        self.program = os.path.join(self.git_dir, b"git-annex")
        self.said = os.path.join(self.git_dir, b"said")

    def git_annex(self, script: bytes, work_tree: bytes | None = None) -> GitAnnex:
        with open(self.program, "wb") as file:
            file.write(b"#!/bin/sh\n" + script)
        os.chmod(self.program, 0o755)
        environ = {
            b"PATH": os.environb[b"PATH"],
            b"GIT_DIR": b"/else",
            b"GIT_INDEX_FILE": b"/else",
            b"X": b"y",
        }
        return GitAnnex(self.git_dir, work_tree, self.program, environ)

    def refusal(self, script: bytes, seconds: float = 30) -> str:
        error = self.assertRaises(Refused, self.git_annex(script).dropkey, KEY, seconds=seconds)
        return str(error)

    def saying(self, what: bytes) -> bytes:
        return b"printf '%s\\n' " + what + b" >'" + self.said + b"'\n"

    def heard(self) -> list[bytes]:
        with open(self.said, "rb") as file:
            return file.read().splitlines()

    def test_arguments(self) -> None:
        git_annex = self.git_annex(self.saying(b'"$@"'))
        git_annex.setkey(KEY, b"/x", verify=True, seconds=30)
        self.assertEqual(self.heard(), [b"setkey", b"--quiet", b"-c", b"annex.verify=true", KEY.raw, b"/x"])
        git_annex.setkey(KEY, b"/x", verify=False, seconds=30)
        self.assertIn(b"annex.verify=false", self.heard())
        git_annex.dropkey(KEY, seconds=30)
        self.assertEqual(self.heard(), [b"dropkey", b"--quiet", b"--force", KEY.raw])
        git_annex.init(seconds=30)
        self.assertEqual(self.heard(), [b"init", b"--quiet"])
        git_annex.commit(seconds=30)
        self.assertEqual(self.heard()[0], b"config")

    def test_surroundings(self) -> None:
        script = b"cat\n" + self.saying(b'"$GIT_DIR" "$GIT_WORK_TREE" "$GIT_INDEX_FILE" "$X" "$PWD"')
        self.git_annex(script).init(seconds=30)
        self.assertEqual(self.heard(), [self.git_dir, b"", b"", b"y", self.git_dir])
        self.git_annex(script, b"/").init(seconds=30)
        self.assertEqual(self.heard(), [self.git_dir, b"/", b"", b"y", b"/"])

    def test_reason(self) -> None:
        reason = self.refusal(
            b"echo nonsense\n"
            b"echo '  Verification of content failed' >&2\n"
            b"echo 'git-annex: move failed!' >&2\n"
            b"echo 'setkey: 1 failed' >&2; exit 1"
        )
        self.assertEqual(
            reason, "git-annex could not remove WORM-s3-m1--a b\\xff: Verification of content failed"
        )
        self.assertTrue(self.refusal(b"exit 7").endswith(": exit code 7"))
        self.assertIn(": x y; \\xff", self.refusal(b"printf 'git-annex: x\\ty\\n\\n\\377' >&2; exit 1"))
        self.assertLess(len(self.refusal(b"printf %5000d 1 >&2; exit 1")), 400)

    def test_absent(self) -> None:
        for program in (b"/nowhere/git-annex", None):
            absent = GitAnnex(self.git_dir, None, program, {b"PATH": b"/nowhere"})
            error = self.assertRaises(Refused, absent.dropkey, KEY, seconds=30)
            self.assertIn("not installed", str(error))

    def test_vanished(self) -> None:
        git_annex = self.git_annex(b"")
        git_annex = GitAnnex(self.git_dir + b"/gone", None, self.program)
        self.assertRaises(Refused, git_annex.init, seconds=30)

    def test_too_long(self) -> None:
        begin = time.monotonic()
        reason = self.refusal(b"sleep 60 & echo $! >'" + self.said + b"'; wait", seconds=1)
        self.assertIn("more than 1 seconds", reason)
        self.assertLess(time.monotonic() - begin, 30)
        child = int(self.heard()[0])
        until(lambda: not _is_running(child), "what git-annex had started is gone")

    def test_what_stays_behind(self) -> None:
        """Something that git-annex leaves running does not keep us waiting."""
        begin = time.monotonic()
        self.git_annex(b"sleep 60 & echo $! >'" + self.said + b"'").init(seconds=30)
        self.assertLess(time.monotonic() - begin, 30)
        os.kill(int(self.heard()[0]), 9)


def _is_running(pid: int) -> bool:
    """A process that has ended may still wait for its parent's attention."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
