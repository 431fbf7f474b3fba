"""What a forced command may be given: the same as git-annex-shell, or refused."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.compiled_shell import PYTHON_SHELL, compiled_shell
from tests.support.processes import run_code
from tests.support.scenes import Scene
from tests.support.servers import Annexd, GitAnnexShell, Server

READ_ONLY = ("GIT_ANNEX_SHELL_READONLY", "1")
APPEND_ONLY = ("GIT_ANNEX_SHELL_APPENDONLY", "yes")
LIMITED = ("GIT_ANNEX_SHELL_LIMITED", "true")
EMPTY = ("GIT_ANNEX_SHELL_READONLY", "")


class Shell(Scene):
    """Each command to both, on equal repositories that were not used before."""

    def place(self) -> Path:
        return self.directory / "host" / "home" / "served"

    def setUp(self) -> None:
        super().setUp()
        self.home = Path(self.host.env["HOME"])
        self.annexd()
        self.stock = GitAnnexShell(self.home)
        self.host.set_key(self.served, b"WORM-s3-m1--abc", b"abc")
        self.problems: list[str] = []
        # its branch, but not git-annex in it
        for name in ("branch", "branch-twin"):
            self.host.git(self.home / name, "fetch", "-q", str(self.served), "git-annex:git-annex")
        (self.home / "link").symlink_to("served")
        (self.home / "empty").mkdir()

    def make_server(self) -> Server:
        home = self.directory / "host" / "home"
        more = [home / name for name in ("bare", "branch", "bare-twin", "branch-twin")]
        for repo in more:
            repo.mkdir()
            self.host.git(repo, "init", "-q", "--bare")
        return Annexd(home, self.directory / "daemon", self.served, *more)

    def test_commands(self) -> None:
        served, uuid = self.served, self.uuid.decode()
        for command in (
            f"git-annex-shell 'configlist' '{served}'",
            f"git-annex-shell 'configlist' '{served}' '--' 'autoinit=1' '--'",
            f"git-annex-shell configlist {served}",
            f'git-annex-shell "configlist" "{served}"',
            f"git-annex-shell 'configlist' '{self.home}/bare'",
            f"git-annex-shell 'configlist' '{self.home}/nothing'",
            f"git-annex-shell 'p2pstdio' '{served}' 'client' --uuid {uuid}",
            f"git-annex-shell 'p2pstdio' '{served}' '' --uuid {uuid}",
            f"git-annex-shell 'p2pstdio' '{served}' 'any text' --uuid {uuid}",
            f"git-annex-shell 'p2pstdio' '{served}' 'client' --uuid wrong",
            f"git-annex-shell 'p2pstdio' '{served}' 'client'",
            f"git-annex-shell 'p2pstdio' '{served}' --uuid {uuid}",
            f"git-annex-shell 'p2pstdio' '{served}'",
            "git-annex-shell 'p2pstdio'",
            f"git-annex-shell 'p2pstdio' '{self.home}/bare' 'client' --uuid {uuid}",
            f"git-annex-shell 'p2pstdio' '{self.home}/nothing' 'client' --uuid {uuid}",
            f"git-annex-shell 'inannex' '{served}' 'WORM-s3-m1--abc'",
            f"git-annex-shell 'inannex' '{served}' 'WORM-s3-m1--none'",
            f"git-annex-shell 'frobnicate' '{served}'",
            f"git-annex-shell 'lockcontent' '{served}' 'WORM-s3-m1--abc'",
            "git-annex-shell",
            "git-annex-shell ''",
            f"git-upload-pack '{served}'",
            f"git-receive-pack '{served}'",
            f"git-upload-pack '{self.home}/nothing'",
            f"git-upload-pack '{served}' x",
            "git-upload-pack",
            "ls",
            "sh -c id",
            f"git-annex-shell 'configlist' '{served}'; id",
            f"git-upload-pack '{served}'; id",
            f"git-upload-pack '{served}' && id",
            f"git-upload-pack '{served}$(id)'",
            f"git-upload-pack --upload-pack=id '{served}'",
            "git-upload-pack '--help'",
            f"git upload-pack '{served}'",
            f"git-annex-shell 'configlist' '{served}' 'unbalanced",
        ):
            self._compare(command)
        self._report()

    def test_both_programs(self) -> None:
        """The Python one, and the compiled one, from the hand-over to what becomes another program."""
        served, uuid = self.served, self.uuid.decode()
        user = self.annexd().command()[1:]
        for command in (
            f"git-annex-shell 'configlist' '{served}'",
            f"git-annex-shell 'p2pstdio' '{served}' 'client' --uuid {uuid}",
            f"git-annex-shell 'p2pstdio' '{served}' 'client' --uuid wrong",
            f"git-annex-shell 'inannex' '{served}' 'WORM-s3-m1--abc'",
            f"git-annex-shell 'inannex' '{served}' 'WORM-s3-m1--none'",
            f"git-upload-pack '{served}'",
            "ls",
        ):
            wanted = _normal(self._ask(self.stock, command, {}))
            for program in (PYTHON_SHELL, compiled_shell()):
                seen = self._ask_program([str(program), *user], self.annexd(), command, {})
                self.assertEqual(_normal(seen), wanted, (program, command))

    def test_directories(self) -> None:
        for directory in (
            f"{self.served}/",
            f"{self.served}//",
            f"{self.home}/./served",
            f"{self.home}/empty/../served",
            f"{self.home}/link",
            "served",
            "~/served",
            "/~/served",
            "/~/served/",
            "~/link",
            "~/empty/../served",
        ):
            for verb in ("git-annex-shell 'configlist'", "git-upload-pack"):
                self._compare(f"{verb} '{directory}'")
        self._report()

    def test_no_repository(self) -> None:
        """git-annex lists an empty UUID for what is no repository at all; here that is refused."""
        for directory in ("empty", "~", "", ".", "/", "..", "~/..", "/etc", f"{self.home}/empty/../.."):
            for verb in ("git-annex-shell 'configlist'", "git-upload-pack", "git-receive-pack"):
                code, said = self._ask(self.annexd(), f"{verb} '{directory}'", {})
                self.assertEqual((directory, code, len(said.splitlines())), (directory, 1, 1), said)

    def test_escapes(self) -> None:
        """What is not served cannot be reached by another name."""
        self.host.git(self.home, "init", "-q", "--bare", "secret")
        self.host.annex(self.home / "secret", "init", "-q")
        (self.home / "way").symlink_to("secret")
        (self.served / "way").symlink_to("../secret")
        for directory in (
            "secret",
            "way",
            "served/../secret",
            "served/way",
            "~/served/../secret",
            "bare/../way",
        ):
            for verb in ("git-annex-shell 'configlist'", "git-upload-pack", "git-receive-pack"):
                code, said = self._ask(self.annexd(), f"{verb} '{directory}'", {})
                self.assertEqual((directory, code, len(said.splitlines())), (directory, 1, 1), said)

    def test_debug(self) -> None:
        """Debugging clients ask the server to debug, too; what it says then is its own business."""
        command = f"git-annex-shell 'p2pstdio' '{self.served}' '--debug' 'client' --uuid {self.uuid.decode()}"
        code, said = self._ask(self.annexd(), command, {})
        self.assertEqual((code, said), (0, b"AUTH-SUCCESS " + self.uuid + b"\n"))

    def test_limits(self) -> None:
        served, uuid = self.served, self.uuid.decode()
        commands = (
            f"git-annex-shell 'configlist' '{served}'",
            f"git-annex-shell 'p2pstdio' '{served}' 'client' --uuid {uuid}",
            f"git-annex-shell 'inannex' '{served}' 'WORM-s3-m1--abc'",
            f"git-annex-shell 'dropkey' '{served}' '--force' 'WORM-s3-m1--none'",
            f"git-annex-shell 'gcryptsetup' '{served}' 'id'",
            f"git-upload-pack '{served}'",
            f"git-receive-pack '{served}'",
            "ls",
        )
        for environment in ((READ_ONLY,), (APPEND_ONLY,), (LIMITED,), (EMPTY,), (READ_ONLY, LIMITED)):
            for command in commands:
                self._compare(command, *environment)
        self._report()

    def test_one_directory(self) -> None:
        served = self.served
        for allowed in (
            f"{served}",
            f"{served}/",
            "~/served",
            "/~/served",
            "served",
            f"{self.home}/link",
            "/srv",
        ):
            for directory in (
                f"{served}",
                f"{served}/",
                "~/served",
                "/~/served",
                "served",
                f"{self.home}/link",
            ):
                for verb in ("git-annex-shell 'configlist'", "git-upload-pack"):
                    self._compare(f"{verb} '{directory}'", ("GIT_ANNEX_SHELL_DIRECTORY", allowed))
        self._compare("ls", ("GIT_ANNEX_SHELL_DIRECTORY", str(served)))
        self._report()

    def test_initialising(self) -> None:
        """Asked for the configuration of a repository that has the branch, or told to, it begins."""
        for name, words in (("branch", ""), ("bare", " '--' 'autoinit=1' '--'")):
            pair = []
            for server, repo in ((self.stock, name), (self.annexd(), name + "-twin")):
                code, out = self._ask(server, f"git-annex-shell 'configlist' '{self.home / repo}'{words}", {})
                pair.append(re.sub(rb"annex.uuid=[0-9a-f-]{36}", b"annex.uuid=U", out))
                self.assertEqual(code, 0, out)
                self.assertIn(b"annex.uuid=" + self.host.uuid(self.home / repo), out)
            self.assertEqual(pair[0], pair[1])

    def _compare(self, command: str, *environment: tuple[str, str]) -> None:
        wanted = self._ask(self.stock, command, dict(environment))
        seen = self._ask(self.annexd(), command, dict(environment))
        if _normal(wanted) != _normal(seen):
            about = f"{command}   {environment or ''}"
            self.problems.append(
                f"{about}\n  git-annex-shell {_normal(wanted)}\n  annexd          {_normal(seen)}"
            )

    def _ask(self, server: Server, command: str, environment: dict[str, str]) -> tuple[int, bytes]:
        return self._ask_program(server.command(), server, command, environment)

    def _ask_program(
        self, program: list[str], server: Server, command: str, environment: dict[str, str]
    ) -> tuple[int, bytes]:
        env = {**server.env(), **environment}
        return run_code(*program, "-c", command, cwd=self.home, env=env, stdin=b"", seconds=60)

    def _report(self) -> None:
        self.assertFalse(self.problems, f"{len(self.problems)} differ:\n" + "\n".join(self.problems))


def _normal(answer: tuple[int, bytes]) -> tuple[int, bytes]:
    """The exit code and the output; of a refusal only that it says something."""
    code, said = answer
    said = re.sub(rb"agent=\S+", b"agent=", said)
    return (code, said) if code == 0 else (1, b"something" if said else b"nothing")
