"""What `annexd.protocol` says of keys, lines and turns, put to git-annex itself."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from twisted.trial import unittest

from annexd.protocol import messages as m
from annexd.protocol.codec import decode, encode
from annexd.protocol.grammar import Moment, admits, complaint
from annexd.protocol.keys import Key
from tests.protocol.test_codec import EXACT, LENIENT, UNREADABLE
from tests.protocol.test_grammar import EVERY
from tests.protocol.test_keys import EXTENSIONS, KEYS, NO_KEYS, PLACES
from tests.support.annex import Machine

HERE = Key.parse(b"WORM-s3--here")
NEVER = Key.parse(b"SHA256-s3--" + b"0" * 64)
UNKNOWN = b"ERROR unknown command"

# Where the codec differs on purpose: git-annex reads these lines (it takes other spaces for ours, and more
# than digits for numbers), or crashes over them.
READ_BY_GIT_ANNEX = {
    b"CHECKPRESENT\tWORM--a",
    b"CHECKPRESENT\xc2\xa0WORM--a",
    b"GET 0\tf WORM--a",
    b"BYPASS\tu",
    b"SUCCESS-PLUS\tu",
    b"VERSION -1",
    b"VERSION 0x3",
    b"VERSION 2 x",
    b"VERSION 2 ",
    b"VERSION  2",
    b"DATA -1",
    b"DATA 9223372036854775808",
    b"DATA 99999999999999999999",
    b"REMOVE-BEFORE -3 WORM--a",
    b"GET -1 f WORM--a",
}

BEFORE: dict[Moment, list[m.Message | bytes]] = {
    Moment.IDLE: [],
    Moment.PUT_DATA: [m.Put(b"", NEVER)],
    Moment.PUT_VALIDITY: [m.Put(b"", NEVER), m.Data(3), b"abc"],
    Moment.GET_VERDICT: [m.Get(0, b"", HERE)],
    Moment.LOCKED: [m.LockContent(HERE)],
}
"""
What leads to a moment, again and again: `NEVER` is never stored.  AUTH,
CONNECTED and NOTIFIED are not to be had over p2pstdio.
"""


class AskGitAnnex(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="annexd-facts-")
        self.addCleanup(directory.cleanup)
        self.machine = Machine(Path(directory.name) / "machine")
        self.repo = self.machine.new("repo")
        self.addCleanup(subprocess.run, ["chmod", "-R", "u+w", directory.name], check=True)
        self.uuid = self.machine.uuid(self.repo).decode()

    def talk(self, said: bytes) -> list[bytes]:
        """The lines that a session answers to ``said``, without its greeting."""
        done = subprocess.run(
            ["git-annex-shell", "p2pstdio", self.repo, "client", "--uuid", self.uuid],
            env=self.machine.env,
            input=said,
            capture_output=True,
            timeout=60,
        )
        greeting, _, rest = done.stdout.partition(b"\n")
        self.assertEqual(greeting, b"AUTH-SUCCESS " + self.uuid.encode(), done.stderr)
        return rest.splitlines()

    def said_of(self, keys: Iterable[bytes]) -> list[bytes]:
        return self.talk(b"".join(b"CHECKPRESENT " + key + b"\n" for key in keys))

    # --- keys ----------------------------------------------------------

    def test_what_a_key_is(self) -> None:
        self.assertEqual(self.said_of(KEYS), [b"FAILURE"] * len(KEYS))
        self.assertEqual(self.said_of(NO_KEYS), [UNKNOWN] * len(NO_KEYS))

    def test_extensions(self) -> None:
        for backend in (b"SHA256E", b"XFOOE", b"E"):
            said = self.said_of(backend + b"-s6--" + name for name, _ in EXTENSIONS)
            self.assertEqual(said, [b"FAILURE" if good else UNKNOWN for _, good in EXTENSIONS])

    def test_hash_directories(self) -> None:
        for raw, lower, mixed in PLACES:
            if lower is not None:
                said = self.machine.annex(
                    self.repo, "examinekey", "--format=${hashdirlower} ${hashdirmixed}", raw
                )
                self.assertEqual(said, lower + b"/ " + mixed + b"/", raw)

    def test_places_of_objects(self) -> None:
        keys = [Key.parse(raw) for raw, _, _ in PLACES if not raw.startswith((b"SHA", b"MD5"))]
        for key in keys:
            size = 3 if key.size is None else key.size
            said = self.talk(
                encode(m.Version(4))
                + encode(m.Put(b"", key))
                + encode(m.Data(size))
                + b"x" * size
                + b"VALID\n"
            )
            self.assertEqual(said[1:], [b"PUT-FROM 0", b"SUCCESS"], key)
            name = key.file_name.decode("utf-8", "surrogateescape")
            mixed = key.hash_mixed.decode()
            self.assertTrue((self.repo / ".git/annex/objects" / mixed / name / name).exists(), key)

    # --- lines ---------------------------------------------------------

    def test_unreadable_lines(self) -> None:
        lines = [line for line in UNREADABLE if line not in READ_BY_GIT_ANNEX]
        self.assertEqual(len(lines), len(UNREADABLE) - len(READ_BY_GIT_ANNEX))
        self.assertEqual(self.talk(b"".join(line + b"\n" for line in lines)), [UNKNOWN] * len(lines))

    def test_readable_lines(self) -> None:
        """At idle a message out of turn is told from a line that cannot be read."""
        lines = [line for line, message in EXACT + LENIENT if not admits(Moment.IDLE, 4, message)]
        self.assertTrue(len(lines) > 25)
        said = self.talk(b"".join(line + b"\n" for line in lines))
        self.assertEqual(said, [b"ERROR unexpected command"] * len(lines))

    # --- turns ---------------------------------------------------------

    def test_every_message_at_every_moment(self) -> None:
        self.talk(encode(m.Put(b"", HERE)) + encode(m.Data(3)) + b"abc")
        for moment, messages in BEFORE.items():
            for version in range(5):
                if (moment, version) == (Moment.PUT_VALIDITY, 0):
                    continue  # there is none
                before = b"".join(part if isinstance(part, bytes) else encode(part) for part in messages)
                self._at(moment, version, encode(m.Version(version)) + before)

    def _at(self, moment: Moment, version: int, before: bytes) -> None:
        """
        All messages that are out of turn, each at this moment, in one session:
        for each, what is said is what is always said at the moment and one
        complaint.
        """
        wrong = [message for message in EVERY if not admits(moment, version, message)]
        self.assertTrue(wrong)
        script = b"".join(
            before + (message.line + b"\n" if isinstance(message, m.Unknown) else encode(message))
            for message in wrong
        )
        said = b"\n".join(self.talk(script)) + b"\n"
        complaints = list(_errors(said))
        expected = [complaint(moment, version, message) for message in wrong]
        self.assertEqual(complaints, expected, f"{moment} in version {version}")


def _errors(said: bytes) -> Iterable[m.Message]:
    """The complaints; in version 0 one may stand behind the content of `HERE`, which ends no line."""
    for line in said.splitlines():
        found = line.find(b"ERROR ")
        if found >= 0:
            yield decode(line[found:])
