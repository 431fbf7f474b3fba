"""Content and names of every kind, through a real sshd."""

from __future__ import annotations

import os
import re
from hashlib import md5
from pathlib import Path

from tests.support.annex import Machine, litter, objects
from tests.support.processes import run, until
from tests.support.scenes import SshScene

_ODD_NAMES = (
    b"with space",
    b" leading",
    b"trailing ",
    b"per%cent",
    b"%s%%d",
    "gr\u00fc\u00df\u00e9.txt".encode(),
    "\u65e5\u672c\u8a9e \u3000wide".encode(),
    b"tab\there",
    b"line\nfeed",
    b"esc\x1b[31m\x07",
    b"del\x7f",
    b"invalid \xff\xfe",
    b"half \xc3",
    b"quote'\"`$(x)\\",
    b"&a&s:c",
    b"-dash",
    b"dir with space/per%cent/\xff",
)

_NEVER_MADE = {b"URL", b"VURL", b"GITBUNDLE", b"GITMANIFEST", b"X*"}  # no file's content makes such a key


class OddNames(SshScene):
    def test_there_and_back(self) -> None:
        one = self.client("one")
        first = one.clone(self.url, "first")
        for name in _ODD_NAMES:
            path = os.path.join(os.fsencode(first), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(os.fsdecode(path)).write_bytes(b"in " + name)
        one.annex(first, "add", "-q", ".")
        worm = os.path.join(os.fsencode(first), b"worm %&:;\xff name")
        Path(os.fsdecode(worm)).write_bytes(b"worm")
        one.annex(first, "add", "-q", "--backend=WORM", ".")
        one.annex(first, "sync", "-q", "--no-content", "-m", "odd")
        one.annex(first, "copy", "-q", "--to", "origin")
        two = self.client("two")
        second = two.clone(self.url, "second")
        two.annex(second, "get", "-q", ".")
        for name in _ODD_NAMES:
            path = os.path.join(os.fsencode(second), name)
            self.assertEqual(Path(os.fsdecode(path)).read_bytes(), b"in " + name)
        two.annex(second, "drop", "-q", "--from", "origin", ".")
        self.assertEqual(objects(self.git_dir), set())
        self.assert_sound()
        self.assert_tidy()


class Backends(SshScene):
    def test_every_backend(self) -> None:
        """One key of each; received right, and refused when wrong."""
        one = self.client("one")
        first = one.clone(self.url, "first")
        for backend in backends(one):
            (first / backend).write_bytes(b"content for " + backend.encode())
            one.annex(first, "add", "-q", f"--backend={backend}", backend)
        one.annex(first, "copy", "-q", "--to", "origin")
        one.annex(first, "fsck", "-q", "--from", "origin")
        keys = one.annex(first, "find", "--format=${key}\\n").split()
        self.assertEqual(len(objects(self.git_dir)), len(set(keys)))
        one.annex(first, "drop", "-q", "--from", "origin", ".")
        self._assert_wrong_content_refused(keys)
        self.assert_sound()

    def _assert_wrong_content_refused(self, keys: list[bytes]) -> None:
        dialogue = self.dialogue()
        dialogue.hello(4)
        for key in keys:
            if key.startswith(b"WORM"):
                continue  # has nothing that could tell
            size = int(re.search(rb"-s(\d+)", key)[1])  # type: ignore[index]
            reply = dialogue.put(key, b"X" * size)
            self.assertTrue(reply == b"FAILURE" or reply.startswith(b"ERROR "), (key, reply))
            self.assertEqual((key, dialogue.ask(b"PUT  " + key)), (key, b"PUT-FROM 0"))
            dialogue.send(b"ERROR not again\n")
        dialogue.finish()
        self.assertEqual(objects(self.git_dir), set())
        self.assert_tidy()


class Large(SshScene):
    megabytes = 300
    seconds = 300.0

    def test_large_file(self) -> None:
        one = self.client("one")
        first = one.clone(self.url, "first")
        with open(first / "large", "wb") as large:
            for number in range(16):
                large.seek(number * (self.megabytes << 16))
                large.write(b"not only zeroes %d" % number)
            large.truncate(self.megabytes << 20)
        one.annex(first, "add", "-q", "large", seconds=self.seconds)
        one.annex(first, "move", "-q", "--to", "origin", "large", seconds=self.seconds)
        self.assertEqual(self.wrong_logs(), {})
        one.annex(first, "get", "-q", "large", seconds=self.seconds)
        self.assertEqual((first / "large").stat().st_size, self.megabytes << 20)
        one.annex(first, "drop", "-q", "--from", "origin", "large", seconds=self.seconds)
        self.assert_sound()
        self.assert_tidy()


class Many(SshScene):
    """A repository with many keys serves a few more."""

    keys = 2_000
    seconds = 120.0

    def test_many_keys(self) -> None:
        one = self.client("one")
        first = one.clone(self.url, "first")
        made = one.files(first, "many", 100)
        one.annex(first, "copy", "-q", "--to", "origin", seconds=self.seconds)
        self._import_logs()
        one.git(first, "fetch", "-q", seconds=self.seconds)
        one.annex(first, "drop", "-q", "--from", "origin", "many", seconds=self.seconds)
        one.annex(first, "copy", "-q", "--to", "origin", "many", seconds=self.seconds)
        one.annex(first, "sync", "-q", "--no-content", seconds=self.seconds)
        said = self.host.annex(self.served, "whereis", "--all", seconds=self.seconds)
        self.assertEqual(said.count(b"(1 copy)") + said.count(b"(2 copies)"), self.keys + len(made))
        self.assertEqual(len(objects(self.git_dir)), len(made))

    def _import_logs(self) -> None:
        """Write ``keys`` location logs to the branch in one commit: another repository has that content."""
        until(lambda: "journal" not in litter(self.git_dir), "nobody else writes to the branch")
        another = b"6e4c1f8a-0000-4000-8000-000000000001"
        lines = [b"commit refs/heads/git-annex\ncommitter S <s@example.org> 1700000000 +0000\ndata 4\nmany\n"]
        lines.append(b"from refs/heads/git-annex^0\n")
        log = b"1700000000s 1 " + another + b"\n"
        for number in range(self.keys):
            key = b"SHA256-s9--%064x" % number
            lines.append(b"M 100644 inline %s/%s.log\ndata %d\n%s\n" % (hash_lower(key), key, len(log), log))
        stream = b"".join(lines)
        run("git", "fast-import", "--quiet", cwd=self.served, env=self.host.env, stdin=stream, seconds=300)


def backends(machine: Machine) -> list[str]:
    """The backends that git-annex can make keys with."""
    said = machine.annex(machine.directory, "version")
    names = re.search(rb"key/value backends: (.*)", said)
    assert names is not None
    return [name.decode() for name in names[1].split() if name not in _NEVER_MADE]


def hash_lower(key: bytes) -> bytes:
    digest = md5(key).hexdigest().encode()
    return digest[:3] + b"/" + digest[3:6]
