"""annexd-shell as a program, the Python one and the compiled one, against a socket that plays the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from annexd import __version__
from tests.support.compiled_shell import PYTHON_SHELL, compiled_shell
from tests.support.played_daemon import SECONDS, Asked, WithDaemon, to_run
from tests.support.processes import until

_Case = WithDaemon if TYPE_CHECKING else object


class Programs(_Case):
    def until_waiting(self, process: subprocess.Popen[bytes]) -> None:
        until(lambda: not os.path.exists(f"/proc/{process.pid}/fd/1"), "the program waits", SECONDS)

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
        """What waits holds neither input nor output: they end when the daemon closes them."""
        seen: list[bytes] = []
        held: list[str] = []

        def answer(asked: Asked) -> None:
            asked.connection.sendall(b"w")
            self.until_waiting(process)
            descriptors = Path(f"/proc/{process.pid}/fd")
            held.extend(os.readlink(descriptors / fd) for fd in os.listdir(descriptors))
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
        self.assertEqual(sum(link.startswith("pipe:") for link in held), 1, held)  # standard error

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
        """It gets the environment, the three descriptors, and no way back to the daemon."""
        said: list[bytes] = []
        script = (
            b'read x; echo "$x:$1:$KEPT"; for i in 3 4 5 6; do [ -e /proc/$$/fd/$i ] && echo $i; done; exit 5'
        )

        def answer(asked: Asked) -> None:
            asked.close_fds()
            asked.connection.sendall(to_run(b"sh", b"-c", script, b"sh", b"a b"))
            said.append(asked.connection.recv(1))

        self.daemon(answer)
        self.assertEqual(
            self.run_shim("-c", "x", PATH="/nonexistent", KEPT="yes"), (5, b"input:a b:yes\n", b"")
        )
        self.thread.join()
        self.assertEqual(said, [b""])

    def test_a_program_that_is_not_there(self) -> None:
        self.daemon(lambda asked: asked.connection.sendall(b"r\0\0\0\x0bno-such-one"))
        code, out, error = self.run_shim("-c", "x")
        self.assertEqual((code, out, error), (1, b"", b"annexd-shell: no-such-one cannot be run here\n"))

    def test_a_git_annex_shell_that_is_this_one(self) -> None:
        program = self.directory / "git-annex-shell"
        program.write_text(f'#!/bin/sh\nexec {self.program} "$@"\n')
        program.chmod(0o755)
        answer = to_run(os.fsencode(program), b"inannex", b"/x", b"k")
        self.daemon(lambda asked: asked.connection.sendall(answer))
        code, _, error = self.run_shim("-c", "git-annex-shell inannex /x k")
        self.assertEqual((code, error.count(b"leads here again")), (1, 1))

    def test_a_daemon_that_dies(self) -> None:
        self.daemon(lambda asked: None)
        self.assertEqual(self.run_shim("-c", "x"), (1, b"", b"annexd-shell: the daemon went away\n"))

    def test_a_daemon_that_dies_later(self) -> None:
        self.daemon(lambda asked: asked.connection.sendall(b"w"))
        self.assertEqual(self.run_shim("-c", "x"), (1, b"", b"annexd-shell: the daemon went away\n"))

    def test_the_end_of_the_waiting_shell_is_seen(self) -> None:
        noticed: list[bytes] = []

        def answer(asked: Asked) -> None:
            asked.connection.sendall(b"w")
            self.until_waiting(process)
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
            (self.directory / name).symlink_to(self.program)
        (self.directory / "again").unlink()
        (self.directory / "again").symlink_to("git-annex-shell")
        frames = self.daemon_for_all(b"w6\n")
        for name in ("git-annex-shell", "again"):
            self.assertEqual(self.run_shim("--version", program=self.directory / name)[0], 0)
            self.assertEqual(self.run_shim("-c", "x", program=self.directory / name)[0], 6)
        self.assertEqual(len(frames), 2)

    def test_closed_descriptors(self) -> None:
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            count: list[int] = []

            def answer(asked: Asked, count: list[int] = count) -> None:
                count.append(len(asked.fds))
                asked.connection.sendall(b"w4\n")

            self.daemon(answer)
            line = f"exec {self.program} --socket {self.socket} -c x {closed}"
            self.assertEqual(subprocess.run(["sh", "-c", line], timeout=SECONDS).returncode, 4, closed)
            self.assertEqual(count, [3])


class PythonProgram(Programs, WithDaemon):
    program = PYTHON_SHELL

    def until_waiting(self, process: subprocess.Popen[bytes]) -> None:
        """Until a shell has taken the place of Python."""
        command = Path(f"/proc/{process.pid}/cmdline")
        until(lambda: b"read code" in command.read_bytes(), "a shell waits", SECONDS)


class CompiledProgram(Programs, WithDaemon):
    def setUp(self) -> None:
        super().setUp()
        self.program = compiled_shell()
