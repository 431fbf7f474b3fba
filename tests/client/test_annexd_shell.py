"""What is in annexd_shell.py only; the rest is in test_programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading

from twisted.trial.unittest import SynchronousTestCase

from annexd import __version__
from annexd.client import annexd_shell
from annexd.client.annexd_shell import Call, Problem, as_line, frame, socket_path
from annexd.sessions.command import split
from tests.support.compiled_shell import PYTHON_SHELL
from tests.support.played_daemon import SECONDS, WithDaemon


class CallTests(SynchronousTestCase):
    def command(self, *arguments: bytes, original: bytes | None = None) -> bytes:
        environ = {} if original is None else {b"SSH_ORIGINAL_COMMAND": original}
        return Call(list(arguments), environ).command

    def test_where_the_command_is(self) -> None:
        self.assertEqual(self.command(original=b"git-annex-shell x"), b"git-annex-shell x")
        self.assertEqual(self.command(b"-c", b"git-annex-shell x"), b"git-annex-shell x")
        self.assertEqual(self.command(b"-c", b"-c", b"x y"), b"x y")
        self.assertEqual(self.command(b"-c", b"x", original=b"x"), b"x")
        self.assertEqual(self.command(b"--user", b"a", original=b"x"), b"x")
        self.assertEqual(self.command(), b"")
        self.assertEqual(self.command(b"-c", b""), b"")
        self.assertEqual(self.command(b"-c"), b"")

    def test_words_become_a_line(self) -> None:
        words = [b"p2pstdio", b"/it's \xff", b"", b"--uuid", b"U"]
        self.assertEqual(split(self.command(*words)), [b"git-annex-shell", *words])
        self.assertEqual(split(self.command(b"-c", *words)), [b"git-annex-shell", *words])
        self.assertEqual(split(as_line(words)), [b"git-annex-shell", *words])

    def test_options(self) -> None:
        call = Call([b"--user=alice", b"--socket", b"/s", b"-c", b"x"], {})
        self.assertEqual(call.options, {b"user": b"alice", b"socket": b"/s"})

    def test_the_first_of_an_option_counts(self) -> None:
        """The later ones may come from an unquoted $SSH_ORIGINAL_COMMAND."""
        call = Call([b"--user", b"alice", b"--user", b"root", b"p2pstdio"], {})
        self.assertEqual(call.options, {b"user": b"alice"})

    def test_wrong_options(self) -> None:
        for arguments in ([b"--usr", b"x"], [b"--user"], [b"--socket"], [b"--", b"x"]):
            self.assertRaises(Problem, Call, arguments, {})

    def test_a_client_does_not_choose_who_it_is(self) -> None:
        line = b"annexd-shell --user root"
        for call in (
            Call([b"-c", line], {}),
            Call([b"-c", line], {b"SSH_ORIGINAL_COMMAND": line}),
            Call([b"--user", b"alice", b"-c", line], {b"SSH_ORIGINAL_COMMAND": b"x"}),
            Call([], {b"SSH_ORIGINAL_COMMAND": line}),
        ):
            self.assertNotEqual(call.options.get(b"user"), b"root")
            self.assertEqual(call.command, line)

    def test_login_shell_under_a_forced_command(self) -> None:
        call = Call(
            [b"-c", b"/usr/bin/annexd-shell --user alice"], {b"SSH_ORIGINAL_COMMAND": b"git-annex-shell x"}
        )
        self.assertEqual((call.options, call.command), ({b"user": b"alice"}, b"git-annex-shell x"))
        call = Call([b"-c", b"git-annex-shell"], {b"SSH_ORIGINAL_COMMAND": b"git-annex-shell x"})
        self.assertEqual(call.command, b"git-annex-shell x")
        call = Call([b"-c", b"git-upload-pack /x"], {b"SSH_ORIGINAL_COMMAND": b"rm -rf /"})
        self.assertEqual(call.command, b"git-upload-pack /x")

    def test_frame(self) -> None:
        environ = {
            b"HOME": b"/h",
            b"GIT_ANNEX_SHELL_READONLY": b"1",
            b"GIT_ANNEX_SHELL_DIRECTORY": b"",
            b"X": b"y",
        }
        data = frame(Call([b"--user", b"al", b"-c", b"a b"], environ), environ)
        self.assertEqual(int.from_bytes(data[:4], "big"), len(data) - 4)
        self.assertEqual(
            data[4:].split(b"\0"),
            [
                b"shell",
                b"command=a b",
                b"user=al",
                b"home=/h",
                b"readonly=1",
                b"directory=",
                b"cwd=" + os.getcwdb(),
            ],
        )

    def test_which_socket(self) -> None:
        def path(given: bytes = b"", system: str = "/nonexistent", **environ: bytes) -> bytes:
            self.patch(annexd_shell, "SYSTEM_SOCKET", os.fsencode(system))
            return socket_path(
                {b"socket": given} if given else {}, {k.encode(): v for k, v in environ.items()}
            )

        self.assertEqual(path(b"/s", ANNEXD_SOCKET=b"/e"), b"/s")
        self.assertEqual(path(ANNEXD_SOCKET=b"/e", system=__file__), b"/e")
        self.assertEqual(path(XDG_RUNTIME_DIR=b"/run/user/7", system=__file__), os.fsencode(__file__))
        self.assertEqual(path(XDG_RUNTIME_DIR=b"/run/user/7"), b"/run/user/7/annexd/annexd.sock")
        self.assertEqual(path(), b"/run/user/%d/annexd/annexd.sock" % os.getuid())

    def test_version(self) -> None:
        self.assertEqual(annexd_shell.VERSION, __version__)


class PythonTests(WithDaemon):
    program = PYTHON_SHELL

    def environ(self) -> dict[bytes, bytes]:
        return {b"ANNEXD_SOCKET": os.fsencode(self.socket)}

    def test_a_daemon_that_does_not_answer(self) -> None:
        over = threading.Event()
        self.daemon(lambda asked: over.wait() and None)
        self.patch(annexd_shell, "ANSWER_SECONDS", 0.05)
        try:
            problem = self.assertRaises(Problem, annexd_shell.act, [b"-c", b"x"], self.environ())
            self.assertIn("has not answered", str(problem))
        finally:
            over.set()

    def test_a_full_house(self) -> None:
        self.listener().listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(str(self.socket))
        self.patch(annexd_shell, "CONNECT_SECONDS", 0.05)
        problem = self.assertRaises(Problem, annexd_shell.act, [b"-c", b"x"], self.environ())
        self.assertIn("takes no more connections", str(problem))

    def test_alone_in_a_directory(self) -> None:
        copy = self.directory / "annexd-shell"
        shutil.copy(PYTHON_SHELL, copy)
        copy.chmod(0o755)
        self.assertEqual(self.run_shim("--version", program=copy, PATH="")[0], 0)

    def test_the_python_beside_it_is_taken(self) -> None:
        copy = self.directory / "annexd-shell"
        shutil.copy(PYTHON_SHELL, copy)
        (self.directory / "python3").write_text('#!/bin/sh\necho "$@"\n')
        for path in (copy, self.directory / "python3"):
            path.chmod(0o755)
        self.assertEqual(self.run_shim("x", program=copy)[1], f"-I -S -B -X utf8 {copy} x\n".encode())

    def test_nothing_but_the_standard_library(self) -> None:
        code = "import annexd_shell, sys; print(*{'annexd', 'os', 're', 'socket'} & set(sys.modules))"
        out = subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-c",
                f"import sys; sys.path.insert(0, {str(PYTHON_SHELL.parent)!r}); {code}",
            ],
            capture_output=True,
            timeout=SECONDS,
            check=True,
        ).stdout
        self.assertEqual(out.strip(), b"")
