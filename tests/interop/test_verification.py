"""What counts as the content of a key: as git-annex has it, for every backend."""

from __future__ import annotations

import os
import random
import re
import tempfile
from pathlib import Path

from twisted.trial import unittest

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo.delegate import GitAnnex
from annexd.repo.layout import Layout, journal_name
from annexd.repo.settings import Settings
from annexd.repo.verify import Checker, Means, equivalent_keys, equivalents_name, is_secure
from tests.support.annex import Machine
from tests.support.processes import run

# Around the blocks of every hash, and of its tree, chunk, or round where it has one.
SIZES = (
    *(0, 1, 2, 3, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 135, 136, 137, 143, 144, 145),
    *(239, 240, 241, 255, 256, 257, 447, 448, 449, 511, 512, 513, 639, 640, 641, 1023, 1024, 1025),
    *(4095, 4096, 4097, 16383, 16384, 65536, 1 << 20, (1 << 20) + 1, 1_500_001),
)

ABC = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ABC_MD5 = b"900150983cd24fb0d6963f7d28e17f72"
NEVER_CALCULATED = {"WORM", "URL", "VURL", "GITBUNDLE", "GITMANIFEST", "X*"}


class Scene(unittest.SynchronousTestCase):
    """A bare repository and its git-annex."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-verify-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.machine = Machine(self.directory / "machine")
        self.repo = self.machine.new("bare", bare=True)
        environ = {name.encode(): value.encode() for name, value in self.machine.env.items()}
        self.git_annex = GitAnnex(os.fsencode(self.repo), None, environ=environ)

    def set_key(self, key: bytes, content: bytes, verify: bool = True) -> str:
        """What git-annex has against it; empty when it has stored it."""
        file = self.directory / "content"
        file.write_bytes(content)
        try:
            self.git_annex.setkey(Key.parse(key), os.fsencode(file), verify=verify, seconds=60)
        except Refused as error:
            return str(error)
        self.assertFalse(file.exists())
        return ""


class EveryBackend(Scene):
    def test_same_hashes(self) -> None:
        content = random.Random(1).randbytes(max(SIZES))
        paths = [self.directory / f"f{size}" for size in SIZES]
        for size, path in zip(SIZES, paths, strict=True):
            path.write_bytes(content[:size])
        said = self.machine.annex(self.repo, "version")
        found = re.search(rb"key/value backends: (.*)", said)
        assert found is not None
        backends = set(found[1].decode().split()) - NEVER_CALCULATED
        self.assertGreater(len(backends), 40)
        for backend in sorted(backends):
            keys = run(
                *("git-annex", "calckey", "--batch", f"--backend={backend}"),
                cwd=self.repo,
                env=self.machine.env,
                stdin=b"".join(os.fsencode(path) + b"\n" for path in paths),
            ).split()
            for size, raw in zip(SIZES, keys, strict=True):
                self.check(Key.parse(raw), memoryview(content)[:size])

    def check(self, key: Key, content: memoryview) -> None:
        checker = Checker(key)
        if key.backend.startswith((b"SKEIN", b"BLAKE2SP224")):
            self.assertIs(checker.means, Means.GIT_ANNEX)
            return
        self.assertIs(checker.means, Means.HASH, key)
        middle = len(content) // 3
        checker.digest.update(content[:middle])
        checker.digest.update(content[middle:])
        self.assertTrue(checker.matches(len(content)), key)
        self.assertFalse(checker.matches(len(content) + 1), key)


class SameVerdict(Scene):
    def test_odd_keys(self) -> None:
        for key, content in (
            (b"SHA256E-s3--" + ABC + b".tar.gz", b"abc"),
            (b"SHA256-s3--" + ABC + b".txt", b"abc"),
            (b"SHA256E-s3--\\" + ABC + b".txt", b"abc"),
            (b"SHA256E-s3--" + ABC + b"-x", b"abc"),
            (b"SHA256E-s3--" + ABC.upper(), b"abc"),
            (b"SHA256E-s3--abc", b"abc"),
            (b"SHA256--" + ABC, b"abc"),
            (b"SHA256--" + ABC, b"abcd"),
            (b"SHA256-s4--" + ABC, b"abc"),
            (b"GITBUNDLE-s3--u-" + ABC, b"abc"),
            (b"GITBUNDLE-s3--u-" + ABC + b".x", b"abc"),
            (b"GITMANIFEST-s3--u", b"abcd"),
            (b"GITMANIFEST--u", b"abcd"),
            (b"WORM-s3-m1--x", b"abc"),
            (b"WORM-s3-m1--y", b"abcd"),
            (b"URL-s3--x", b"ab"),
            (b"VURL--x", b"abc"),
            (b"FOO-s3--" + ABC, b"abc"),
            (b"FOO-s3--x", b"abcd"),
            (b"sha256-s3--x", b"abc"),
        ):
            checker = Checker(Key.parse(key))
            checker.digest.update(content)
            self.assertEqual(checker.matches(len(content)), not self.set_key(key, content), key)

    def test_what_we_leave_to_it(self) -> None:
        key = b"SKEIN256-s3--258bdec343b9fde1639221a5ae0144a96e552e5288753c5fec76c05fc2fc1870"
        self.assertIn("Verification of content failed", self.set_key(key, b"abd"))
        self.assertEqual(self.set_key(key, b"abc"), "")
        self.machine.git(self.repo, "config", "annex.verify", "false")
        other = b"SKEIN256-s3--0"
        self.assertIn("Verification of content failed", self.set_key(other, b"abc"))
        self.assertEqual(self.set_key(other, b"abc", verify=False), "")

    def test_equivalents(self) -> None:
        key = Key.parse(b"VURL--http://x/y")
        layout = Layout(os.fsencode(self.repo), Settings(bare=True))
        name = journal_name(equivalents_name(layout.log_name(key)))
        for log, content in (
            (b"1s 1 MD5-s3--%b\n1s 1 SHA256-s1--00\n" % ABC_MD5, b"abc"),
            (b"1s 1 MD5-s3--%b\n" % ABC_MD5, b"abd"),
            (b"1s 1 SHA256-s3--%b\n2s 0 MD5-s3--%b\n" % (ABC, ABC_MD5), b"abd"),
            (b"1s 1 MD5-s1--00\n2s 0 MD5-s1--00\n", b"abd"),
        ):
            os.makedirs(layout.journal, exist_ok=True)
            Path(os.fsdecode(os.path.join(layout.journal, name))).write_bytes(log)
            checker = Checker(key, equivalent_keys(log))
            checker.digest.update(content)
            self.assertEqual(checker.matches(3), not self.set_key(key.raw, content), log)
            self.machine.tries(self.repo, "dropkey", "--force", key.raw)


class SameCaution(Scene):
    def test_secure_hashes_only(self) -> None:
        self.machine.git(self.repo, "config", "annex.securehashesonly", "true")
        for backend in (
            *("SHA1", "MD5E", "XXH3", "WORM", "URL", "GITMANIFEST", "FOO"),
            *("SHA224E", "SHA3_224", "SKEIN256", "BLAKE2B160", "BLAKE2SP224E", "BLAKE3_256", "GITBUNDLE"),
        ):
            key = Key.parse(f"{backend}-s3--u-0".encode())
            blocked = "securehashesonly" in self.set_key(key.raw, b"abc", verify=False)
            self.assertEqual(is_secure(key), not blocked, backend)
