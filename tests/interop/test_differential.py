"""The same requests to git-annex's own server and to annexd, on equal repositories: no difference."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pygit2
from twisted.trial import unittest

from annexd.app.access import Rights
from annexd.app.certificates import own_fingerprint
from annexd.app.state import private_directory
from annexd.app.token_file import Token, TokenFile, digest_of, fresh_secret
from tests.support.annex import Machine
from tests.support.p2p import Dialogue, shell_command
from tests.support.p2p_cases import BEFORE, CRASH, MORE, SPOILT, THIRTY, Case, about_content, about_words
from tests.support.processes import Failed, until
from tests.support.servers import Annexd, GitAnnexShell, Server
from tests.support.tls_scenes import OVER_TLS

_MARKER = b"CHECKPRESENT {marker}\n"
_AT_ONCE = 3


@dataclass(frozen=True)
class Fixture:
    """A repository to be copied for each case, and what ``{name}`` in scripts stands for."""

    repo: Path
    uuid: str
    names: dict[bytes, bytes]

    def fill(self, text: bytes, version: int) -> bytes:
        text = text.replace(b"{V}", b"VALID\n" if version else b"")
        for name, value in self.names.items():
            text = text.replace(b"{%s}" % name, value)
        return text


@dataclass(frozen=True)
class Seen:
    """What a session was answered and what it left behind."""

    answers: bytes
    code: int
    left: dict[str, dict[str, object]]
    said: bytes


def make_fixture(machine: Machine, *, bare: bool, settings: tuple[str, ...]) -> Fixture:
    repo = machine.new("template", bare=bare, settings=settings)
    names = {
        b"hello": machine.calc_key(repo, b"hello\n", suffix=".txt"),
        b"more": machine.calc_key(repo, MORE),
        b"empty": b"SHA256-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"worm": b"WORM-s3-m1--a b",
        b"url": b"URL--http://x/y?z=1",
        b"absent": machine.calc_key(repo, THIRTY),
        b"nothing": b"MD5-s0--d41d8cd98f00b204e9800998ecf8427e",
        b"partial": machine.calc_key(repo, THIRTY[::-1], "SHA512"),
        b"spoilt": machine.calc_key(repo, SPOILT),
        b"long": machine.calc_key(repo, THIRTY.upper()),
        b"whole": machine.calc_key(repo, THIRTY.title()),
        b"worm_absent": b"WORM-s3-m1700000000--x y.txt",
        b"url_absent": b"URL--http://x/z",
        b"wrong_size": machine.calc_key(repo, THIRTY).replace(b"-s30-", b"-s9-"),
        b"marker": b"WORM-s3-m1--the session goes on",
    }
    for name, content in (
        (b"hello", b"hello\n"),
        (b"more", MORE),
        (b"empty", b""),
        (b"worm", b"abc"),
        (b"url", b"abc"),
        (b"marker", b"abc"),
    ):
        machine.set_key(repo, names[name], content)
    git_dir = repo if bare else repo / ".git"
    # It is copied hundreds of times.
    machine.git(repo, "repack", "-adq")
    for sample in (git_dir / "hooks").glob("*.sample"):
        sample.unlink()
    (git_dir / "annex" / "tmp").mkdir(exist_ok=True)
    for name, content in (
        (b"partial", THIRTY[::-1][:7]),
        (b"spoilt", b"wrong.."),
        (b"long", b"x" * 50),
        (b"whole", THIRTY.title()),
    ):
        (git_dir / "annex" / "tmp" / names[name].decode()).write_bytes(content)
    return Fixture(repo, machine.uuid(repo).decode(), names)


class Differential(unittest.SynchronousTestCase):
    """A bare repository, as servers have them."""

    bare = True
    settings: tuple[str, ...] = ()
    later: tuple[str, ...] = ()

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-differential-")
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.machine = Machine(self.directory / "machine")
        self.fixture = make_fixture(self.machine, bare=self.bare, settings=self.settings)
        if self.later:
            self.machine.git(self.fixture.repo, "config", *self.later)
        self.cases = [(case, version) for case in self.chosen() for version in case.versions]

    def chosen(self) -> list[Case]:
        return [*about_words(), *about_content()]

    def test_same(self) -> None:
        """Every case: same answers, same exit code, same objects, partials, locks, transfers and logs."""
        home = Path(self.machine.env["HOME"])
        copies = [self._copy(f"annexd-{number}") for number in range(len(self.cases))]
        annexd = self.make_annexd(home, copies)
        annexd.start()
        self.addCleanup(annexd.stop)
        shell = GitAnnexShell(home)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(
                pool.map(lambda job: self._compare(job[0], job[1], shell, annexd), enumerate(copies))
            )
        different = [text for text in found if text]
        self.assertFalse(different, f"{len(different)} of {len(found)} differ:\n\n" + "\n\n".join(different))

    def make_annexd(self, home: Path, copies: list[Path]) -> Server:
        return Annexd(home, self.directory / "daemon", *copies)

    def _compare(self, number: int, copy: Path, shell: Server, annexd: Server) -> str:
        case, version = self.cases[number]
        own = self._copy(f"shell-{number}")
        try:
            wanted = self._ask(shell, own, case, version)
            seen = self.ask_annexd(annexd, copy, case, version)
        except Failed as error:
            return f"{case.name} (version {version}): {error}"
        finally:
            shutil.rmtree(own, ignore_errors=True)
        return difference(case, version, wanted, seen, self.fixture)

    def ask_annexd(self, annexd: Server, copy: Path, case: Case, version: int) -> Seen:
        return self._ask(annexd, copy, case, version)

    def _ask(self, server: Server, repo: Path, case: Case, version: int) -> Seen:
        environment = {**server.env(), **dict(case.environment)}
        dialogue = Dialogue(server.command(), environment, shell_command(repo, self.fixture.uuid))
        return self.seen(dialogue, repo, case, version)

    def seen(
        self,
        dialogue: Dialogue,
        repo: Path,
        case: Case,
        version: int,
        settle: Callable[[], None] = lambda: None,
    ) -> Seen:
        try:
            dialogue.send(self._script(case, version))
            answers, said, code = dialogue.finish()
        finally:
            dialogue.close()
        settle()
        return Seen(normal(answers), code, left_behind(repo if self.bare else repo / ".git"), said)

    def _script(self, case: Case, version: int) -> bytes:
        agreed = b"VERSION %d\n" % version if version else b""
        return agreed + self.fixture.fill(case.script + (_MARKER if case.marked else b""), version)

    def _copy(self, name: str) -> Path:
        copy = self.directory / name
        shutil.copytree(self.fixture.repo, copy, symlinks=True, copy_function=shutil.copy2)
        return copy


class _Content(Differential):
    """What is about content, once each."""

    def chosen(self) -> list[Case]:
        return [replace(case, versions=(case.versions[-1],)) for case in about_content()]


class WithWorkTree(_Content):
    bare = False


class OldRepository(_Content):
    """Repository version 8: content locks are taken on the object files themselves."""

    settings = ("annex.version=8", "annex.autoupgraderepository=false")


class _Settings(Differential):
    """A few cases for each of the settings that change what is left behind, and how."""

    def chosen(self) -> list[Case]:
        names = {"PUT", "REMOVE", "REMOVE and put back", "PUT resumed", "LOCKCONTENT, UNLOCKCONTENT, REMOVE"}
        names |= {"PUT of wrong content", "GET of each key", "PUT of a WORM key", "body: the end inside"}
        cases = [*about_words(), *about_content()]
        return [replace(case, versions=(4,)) for case in cases if case.name in names]


class Version9(_Settings):
    settings = ("annex.version=9", "annex.autoupgraderepository=false")


class GroupShared(_Settings):
    settings = ("core.sharedRepository=group",)


class GroupSharedWorkTree(GroupShared):
    bare = False


class AllShared(_Settings):
    settings = ("core.sharedRepository=all",)


class OctalShared(_Settings):
    settings = ("core.sharedRepository=0640",)


class OneLevel(_Settings):
    settings = ("annex.tune.objecthash1=true", "annex.tune.branchhash1=true")


class LowerCase(_Settings):
    bare = False
    settings = ("annex.tune.objecthashlower=true",)


class Private(_Settings):
    settings = ("annex.private=true",)


class Uncommitted(_Settings):
    settings = ("annex.alwayscommit=false",)


class Unverified(_Settings):
    settings = ("annex.verify=false",)


class SecureOnly(_Settings):
    later = ("annex.securehashesonly", "true")

    def chosen(self) -> list[Case]:
        refusal = b"ERROR annex.securehashesonly does not allow keys of this backend here\n"
        insecure = [
            Case(
                "GET of an insecure key", b"GET 0  {worm}\n", instead=refusal, code=0, why=CRASH, alike=False
            ),
            Case("PUT of an insecure key", b"PUT  {url_absent}\n", instead=refusal, why=BEFORE),
            Case("GET of an absent insecure key", b"GET 0  {worm_absent}\nFAILURE\n"),
            Case("GET of a secure key", b"GET 0  {hello}\nSUCCESS\n"),
        ]
        return insecure + [case for case in super().chosen() if b"worm" not in case.script]


class OverTls(_Content):
    """The same over TLS, where nobody is told an exit code."""

    def chosen(self) -> list[Case]:
        every = [*about_words(), *about_content()]
        return [replace(case, versions=(case.versions[-1],)) for case in every if not case.environment]

    def make_annexd(self, home: Path, copies: list[Path]) -> Server:
        self.secrets = {copy: fresh_secret().decode() for copy in copies}
        state, config = self.directory / "state", self.directory / "annexd.toml"
        now = time.time()
        TokenFile(private_directory(str(state))).add(
            [
                Token("bob", str(copy).encode(), Rights.READ_WRITE, digest_of(secret.encode()), int(now))
                for copy, secret in self.secrets.items()
            ],
            now,
        )
        config.write_text(
            f'[daemon]\nstate-directory = "{state}"\n[listen.tls]\naddress = "127.0.0.1:0"\n'
            + "".join(f'[[repository]]\npath = "{copy}"\n' for copy in copies)
        )
        annexd = Annexd(home, self.directory / "daemon")
        annexd.daemon.options = ("--config", str(config))
        self.fingerprint = own_fingerprint(str(state))
        return annexd

    def ask_annexd(self, annexd: Server, copy: Path, case: Case, version: int) -> Seen:
        assert isinstance(annexd, Annexd)
        [port] = [text.rpartition(":")[2] for text in annexd.daemon.status()["listeners"] if "tls" in text]
        address = f"127.0.0.1:{port},sha256={self.fingerprint}"
        env = {**annexd.env(), "ANNEXD_TEST_TOKEN": self.secrets[copy]}
        dialogue = Dialogue([sys.executable, str(OVER_TLS), address], env, "")

        def nobody_inside() -> bool:
            repositories = annexd.daemon.status()["repositories"]
            return not any(one["uses"] for one in repositories if one["path"] == str(copy))

        # Nobody waits for the end of a session as sshd does.
        return self.seen(dialogue, copy, case, version, lambda: until(nobody_inside, "the session has ended"))

    def _compare(self, number: int, copy: Path, shell: Server, annexd: Server) -> str:
        case, version = self.cases[number]
        self.cases[number] = replace(case, code=0), version
        return super()._compare(number, copy, shell, annexd)


del _Content, _Settings


def difference(case: Case, version: int, wanted: Seen, seen: Seen, fixture: Fixture) -> str:
    """What annexd did that neither git-annex-shell did nor the case allows; empty when nothing."""
    answers, code = wanted.answers, wanted.code if case.code is None else case.code
    left = wanted.left if case.alike else seen.left
    if case.instead is not None:
        hello = b"AUTH-SUCCESS %s\n" % fixture.uuid.encode() + (b"VERSION %d\n" % version if version else b"")
        answers = hello + fixture.fill(case.instead, version) + (b"SUCCESS\n" if case.marked else b"")
    lines = []
    if answers != seen.answers:
        lines += ["  answers, git-annex-shell (-) and annexd (+):", *changed(answers, seen.answers)]
    if code != seen.code:
        lines.append(f"  exit code: git-annex-shell {code}, annexd {seen.code}")
    if case.alike:
        # whether these are made early or late does not matter, but what they are like does
        common = left["modes of transfers"].keys() & seen.left["modes of transfers"].keys()
        for side in (left, seen.left):
            side["modes of transfers"] = {name: side["modes of transfers"][name] for name in common}
    for what in left:
        lines += [f"  left behind, {what}: {line}" for line in unlike(left[what], seen.left[what])]
    if not lines:
        return ""
    said = f"  stderr: git-annex-shell {wanted.said[-300:]!r}, annexd {seen.said[-300:]!r}"
    return "\n".join([f"{case.name} (version {version}): {case.script[:200]!r}", *lines, said])


def unlike(wanted: dict[str, object], seen: dict[str, object]) -> list[str]:
    """Each thing that only one of them left, or left differently."""
    names = sorted(wanted.keys() | seen.keys())
    found = [(name, wanted.get(name), seen.get(name)) for name in names]
    return [f"{name}: {one!r}, annexd {other!r}" for name, one, other in found if one != other]


def changed(one: bytes, other: bytes) -> list[str]:
    """The lines that differ, and those around them."""
    before, after = ([repr(line) for line in text.splitlines(keepends=True)] for text in (one, other))
    return ["    " + line for line in difflib.unified_diff(before, after, n=1, lineterm="")][2:]


def normal(answers: bytes) -> bytes:
    return re.sub(rb"(?m)^TIMESTAMP \d+$", b"TIMESTAMP n", answers)


def left_behind(git_dir: Path) -> dict[str, dict[str, object]]:
    """What a session can have changed in a repository, without the times."""
    annex = git_dir / "annex"
    return {
        "objects": _contents(annex / "objects"),
        # an empty partial, which git-annex leaves now and then, is none
        "partials": {name: file for name, file in _contents(annex / "tmp").items() if file[1]},
        "transfers": _transfers(annex / "transfer"),
        "logs": _logs(git_dir),
        "modes": _modes(annex, [*_directories(annex / "objects"), *(annex / "journal").glob("*")]),
        "modes of transfers": _modes(annex, _directories(annex / "transfer")),
    }


def _transfers(directory: Path) -> dict[str, Any]:
    """Those that are under way or failed; but who sends so little at once need not note it."""
    names = _contents(directory)
    return {name: "there" for name in names if not re.match(r"failed/upload/.*-s\d\d?-", name)}


def _directories(below: Path) -> list[Path]:
    return [path for path in below.rglob("*") if path.is_dir()]


def _modes(annex: Path, paths: list[Path]) -> dict[str, Any]:
    return {str(path.relative_to(annex)): oct(path.stat().st_mode & 0o7777) for path in paths}


def _contents(directory: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mode & 0o7777, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


def _logs(git_dir: Path) -> dict[str, Any]:
    """The location logs, those in the journal before those on the branch; status and uuid of each line."""
    logs = dict(_files(pygit2.Repository(git_dir).revparse_single("git-annex^{tree}")))
    for journal in ("journal", "journal-private"):
        for file in (git_dir / "annex" / journal).glob("*"):
            name = re.sub("__?", lambda found: "_" if len(found[0]) == 2 else "/", file.name)
            logs[name] = file.read_bytes()
    return {name: sorted(map(_without_time, text.splitlines())) for name, text in logs.items()}


def _without_time(line: bytes) -> bytes:
    return line.partition(b" ")[2]


def _files(tree: Any, above: str = "") -> Iterator[tuple[str, bytes]]:
    """In directories of a tree; what is at the top of the branch is not about one key."""
    for entry in tree:
        name = os.fsdecode(entry.raw_name)
        if isinstance(entry, pygit2.Tree):
            yield from _files(entry, f"{above}{name}/")
        elif above:
            yield f"{above}{name}", entry.data
