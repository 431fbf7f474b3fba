"""The shim, as a program, against a socket that plays the daemon."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd import __version__
from annexd.client import annexd_shell
from annexd.client.annexd_shell import Call, Problem, as_line, frame, socket_path
from annexd.sessions.command import split

PROGRAM = Path(annexd_shell.__file__)
SECONDS = 20  # for what takes milliseconds


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


class Asked:
    """What the daemon's side of one connection sees."""

    def __init__(self, connection: socket.socket, data: bytes, fds: list[int]) -> None:
        self.connection = connection
        self.fields = data[4:].split(b"\0")
        self.fds = fds

    def close_fds(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def until_waiting(process: subprocess.Popen[bytes]) -> None:
    """Until a shell has taken the place of Python."""
    end = time.monotonic() + SECONDS
    while b"read code" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
        assert time.monotonic() < end
        time.sleep(0.001)


class ProgramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="annexd-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.socket = self.directory / "s"

    def listener(self) -> socket.socket:
        self.socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(self.socket))
        listener.settimeout(SECONDS)
        return listener

    def daemon(self, answer: Callable[[Asked], None]) -> None:
        """Answer one connection in a thread."""
        listener = self.listener()
        listener.listen(1)
        self.thread = threading.Thread(target=self._serve, args=(listener, answer))
        self.thread.start()
        self.addCleanup(self.thread.join)

    def _serve(self, listener: socket.socket, answer: Callable[[Asked], None]) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(SECONDS)
            data, fds, _, _ = socket.recv_fds(connection, 65536, 3)
            while len(data) < 4 + int.from_bytes(data[:4], "big"):
                data += connection.recv(65536)
            asked = Asked(connection, data, fds)
            try:
                answer(asked)
            finally:
                asked.close_fds()

    def start(self, *arguments: str, program: Path = PROGRAM, **environ: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [program, *arguments],
            env={"PATH": "/usr/bin:/bin", "ANNEXD_SOCKET": str(self.socket), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(process.__exit__, None, None, None)  # closes the pipes
        self.addCleanup(process.kill)
        return process

    def run_shim(self, *arguments: str, program: Path = PROGRAM, **environ: str) -> tuple[int, bytes, bytes]:
        process = self.start(*arguments, program=program, **environ)
        out, error = process.communicate(b"input", SECONDS)
        return process.returncode, out, error

    # --- with a daemon -------------------------------------------------

    def test_descriptors_and_exit_code(self) -> None:
        def answer(asked: Asked) -> None:
            self.assertEqual(os.read(asked.fds[0], 100), b"input")
            os.write(asked.fds[1], b"output")
            os.write(asked.fds[2], b"error")
            asked.connection.sendall(b"w42\n")

        self.daemon(answer)
        self.assertEqual(self.run_shim("-c", "x"), (42, b"output", b"error"))

    def test_waiting(self) -> None:
        """What waits is a shell, and the output ends when the daemon closes it."""
        seen: list[bytes] = []

        def answer(asked: Asked) -> None:
            asked.connection.sendall(b"w")
            until_waiting(process)
            os.close(asked.fds.pop(1))
            assert process.stdout is not None
            seen.append(process.stdout.read())
            asked.connection.sendall(b"3\n")

        ready = threading.Event()
        self.daemon(lambda asked: (ready.wait(), answer(asked))[1])
        process = self.start("-c", "x")
        ready.set()
        self.assertEqual(process.wait(SECONDS), 3)
        self.assertEqual(seen, [b""])

    def test_frame_and_arguments_in_any_locale(self) -> None:
        for locale in ("C", "POSIX", "en_US.ISO-8859-1", "nonsense"):
            fields: list[bytes] = []

            def answer(asked: Asked, fields: list[bytes] = fields) -> None:
                fields += asked.fields
                asked.connection.sendall(b"w0\n")

            self.daemon(answer)
            command = os.fsdecode(b"git-annex-shell configlist '/\xff\xc3\xa9'")
            self.assertEqual(self.run_shim("--user", "alïce", "-c", command, LC_ALL=locale)[0], 0)
            self.assertIn(b"command=" + os.fsencode(command), fields)
            self.assertIn("user=alïce".encode(), fields)

    def test_becoming_another_program(self) -> None:
        def answer(asked: Asked) -> None:
            argv = b"\0".join((b"sh", b"-c", b'read x; echo "$x:$1:$KEPT"; exit 5', b"sh", b"a b"))
            asked.close_fds()
            asked.connection.sendall(b"r" + len(argv).to_bytes(4, "big") + argv)
            self.assertEqual(asked.connection.recv(1), b"")

        self.daemon(answer)
        self.assertEqual(
            self.run_shim("-c", "x", PATH="/nonexistent", KEPT="yes"), (5, b"input:a b:yes\n", b"")
        )

    def test_a_program_that_is_not_there(self) -> None:
        self.daemon(lambda asked: asked.connection.sendall(b"r\0\0\0\x0bno-such-one"))
        code, out, error = self.run_shim("-c", "x")
        self.assertEqual((code, out, error), (1, b"", b"annexd-shell: no-such-one cannot be run here\n"))

    def test_a_git_annex_shell_that_is_this_one(self) -> None:
        program = self.directory / "git-annex-shell"
        program.write_text(f'#!/bin/sh\nexec {PROGRAM} "$@"\n')
        program.chmod(0o755)
        argv = os.fsencode(program) + b"\0inannex\0/x\0k"
        self.daemon(lambda asked: asked.connection.sendall(b"r" + len(argv).to_bytes(4, "big") + argv))
        code, _, error = self.run_shim("inannex", "/x", "k")
        self.assertEqual((code, error.count(b"leads here again")), (1, 1))

    def test_a_daemon_that_dies(self) -> None:
        self.daemon(lambda asked: None)
        self.assertEqual(self.run_shim("-c", "x"), (1, b"", b"annexd-shell: the daemon went away\n"))

    def test_a_daemon_that_dies_later(self) -> None:
        self.daemon(lambda asked: asked.connection.sendall(b"w"))
        self.assertEqual(self.run_shim("-c", "x"), (1, b"", b"annexd-shell: the daemon went away\n"))

    def test_a_daemon_that_does_not_answer(self) -> None:
        over = threading.Event()
        self.daemon(lambda asked: over.wait() and None)
        self.patch(annexd_shell, "ANSWER_SECONDS", 0.05)
        try:
            problem = self.assertRaises(Problem, annexd_shell.act, [b"-c", b"x"], self.environ())
            self.assertIn("has not answered", str(problem))
        finally:
            over.set()

    def test_the_end_of_the_waiting_shell_is_seen(self) -> None:
        noticed: list[bytes] = []

        def answer(asked: Asked) -> None:
            asked.connection.sendall(b"w")
            until_waiting(process)
            process.send_signal(signal.SIGTERM)
            noticed.append(asked.connection.recv(1))

        ready = threading.Event()
        self.daemon(lambda asked: (ready.wait(), answer(asked))[1])
        process = self.start("-c", "x")
        ready.set()
        self.assertEqual(process.wait(SECONDS), -signal.SIGTERM)
        self.thread.join()
        self.assertEqual(noticed, [b""])

    # --- without one ---------------------------------------------------

    def environ(self) -> dict[bytes, bytes]:
        return {b"ANNEXD_SOCKET": os.fsencode(self.socket)}

    def assertUnreachable(self, reason: str) -> None:
        code, out, error = self.run_shim("-c", "x")
        self.assertEqual((code, out), (1, b""))
        self.assertEqual(error.count(b"\n"), 1)
        self.assertIn(reason, error.decode())

    def test_no_socket(self) -> None:
        self.assertUnreachable("no annexd is running at")

    def test_a_leftover_socket(self) -> None:
        self.listener()
        self.assertUnreachable("no annexd is running at")

    def test_not_a_socket(self) -> None:
        self.socket.write_bytes(b"")
        self.assertUnreachable("no annexd is running at")

    def test_a_path_that_is_too_long(self) -> None:
        self.socket = self.directory / ("x" * 120)
        self.assertUnreachable("too long")

    def test_a_full_house(self) -> None:
        self.listener().listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(str(self.socket))
        self.patch(annexd_shell, "CONNECT_SECONDS", 0.05)
        problem = self.assertRaises(Problem, annexd_shell.act, [b"-c", b"x"], self.environ())
        self.assertIn("takes no more connections", str(problem))

    # --- as it is installed and called ---------------------------------

    def test_no_command(self) -> None:
        code, out, error = self.run_shim()
        self.assertEqual((code, out), (1, b""))
        self.assertIn(b"no interactive shell", error)

    def test_help_and_version(self) -> None:
        self.assertEqual(self.run_shim("--version"), (0, f"annexd-shell {__version__}\n".encode(), b""))
        self.assertIn(b"usage: annexd-shell", self.run_shim("--help")[1])

    def test_under_another_name(self) -> None:
        for name in ("git-annex-shell", "again"):
            (self.directory / name).symlink_to(PROGRAM)
        (self.directory / "again").unlink()
        (self.directory / "again").symlink_to("git-annex-shell")
        for name in ("git-annex-shell", "again"):
            self.assertEqual(self.run_shim("--version", program=self.directory / name)[0], 0)

    def test_alone_in_a_directory(self) -> None:
        copy = self.directory / "annexd-shell"
        shutil.copy(PROGRAM, copy)
        copy.chmod(0o755)
        self.assertEqual(self.run_shim("--version", program=copy, PATH="")[0], 0)

    def test_the_python_beside_it_is_taken(self) -> None:
        copy = self.directory / "annexd-shell"
        shutil.copy(PROGRAM, copy)
        (self.directory / "python3").write_text('#!/bin/sh\necho "$@"\n')
        for path in (copy, self.directory / "python3"):
            path.chmod(0o755)
        self.assertEqual(self.run_shim("x", program=copy)[1], f"-I -S -B -X utf8 {copy} x\n".encode())

    def test_closed_descriptors(self) -> None:
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            count: list[int] = []

            def answer(asked: Asked, count: list[int] = count) -> None:
                count.append(len(asked.fds))
                asked.connection.sendall(b"w4\n")

            self.daemon(answer)
            line = f"exec {PROGRAM} --socket {self.socket} -c x {closed}"
            self.assertEqual(subprocess.run(["sh", "-c", line], timeout=SECONDS).returncode, 4, closed)
            self.assertEqual(count, [3])

    def test_nothing_but_the_standard_library(self) -> None:
        code = "import annexd_shell, sys; print(*{'annexd', 'os', 're', 'socket'} & set(sys.modules))"
        out = subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-c",
                f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); {code}",
            ],
            capture_output=True,
            timeout=SECONDS,
            check=True,
        ).stdout
        self.assertEqual(out.strip(), b"")
