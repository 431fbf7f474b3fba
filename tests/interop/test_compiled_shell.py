"""The compiled annexd-shell against the Python one: the same questions, in the same words."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from annexd.client.annexd_shell import Call, Problem, frame
from tests.support.compiled_shell import PYTHON_SHELL, compiled_shell
from tests.support.played_daemon import SECONDS, WithDaemon, to_run

Words = list[bytes]
Values = dict[bytes, bytes]

_REST = b"-I -S -B -X utf8"
# What begins the arguments of the Python that the rest is left to.

_WORDS = (
    b"-c", b"--user", b"--socket", b"--user=al", b"--user=", b"--user=a=b", b"--users=a", b"--use", b"--",
    b"--help", b"--version", b"-x", b"x", b"", b"a b", b"annexd-shell", b"git-annex-shell 'configlist' '/x'",
    b"/usr/bin/annexd-shell --user bo", b"\tgit-annex-shell\x0b--user=bo\f--user \n al ",
    b"annexd-shell --user",
    b"annexd-shell --help", b"annexd-shell --user bo x", b"not-annexd-shell --user bo", b"\xff'\xc3\xa9",
    b"annexd-shell" + b" --user x" * 9, b"annexd-shell -c x", b" ",
)  # fmt: skip
_NAMES = (
    b"SSH_ORIGINAL_COMMAND", b"HOME", b"GIT_ANNEX_SHELL_READONLY", b"GIT_ANNEX_SHELL_APPENDONLY",
    b"GIT_ANNEX_SHELL_LIMITED", b"GIT_ANNEX_SHELL_DIRECTORY", b"SSH_CONNECTION",
    b"ANNEXD_SHELL_RAN", b"OTHER",
)  # fmt: skip

_words = st.sampled_from(_WORDS) | st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"-"))
_calls = st.tuples(
    st.lists(_words, max_size=5) | _words.map(lambda word: [b"-c", word]),
    st.dictionaries(st.sampled_from(_NAMES), _words, max_size=3),
)


class Frames(WithDaemon):
    """What is handed over is what Python would hand over, or it is left to Python."""

    def setUp(self) -> None:
        super().setUp()
        self.program = compiled_shell("-UPYTHON", '-DPYTHON="/bin/echo"')
        self.frames = self.daemon_for_all(b"w0\n")

    def asked(self, arguments: Words, environ: Values) -> bytes | None:
        """The frame; None when it was left to Python, as it had come."""
        self.frames.clear()
        done = subprocess.run(
            [self.program, *arguments],
            env={b"ANNEXD_SOCKET": os.fsencode(self.socket), **environ},
            capture_output=True,
            timeout=SECONDS,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        if self.frames:
            self.assertEqual((len(self.frames), done.stdout), (1, b""))
            return self.frames[0]
        self.assertEqual(done.stdout, b" ".join((_REST, os.fsencode(PYTHON_SHELL), *arguments)) + b"\n")
        return None

    def expected(self, arguments: Words, environ: Values) -> bytes | None:
        """The frame that Python makes; None where it has something to say itself."""
        try:
            call = Call(arguments, environ)
        except Problem:
            return None
        if {b"help", b"version"} & set(call.options) or not call.command or b"ANNEXD_SHELL_RAN" in environ:
            return None
        if call.options.get(b"socket"):
            return None  # nobody is there
        return frame(call, environ)

    def test_any(self) -> None:
        @settings(max_examples=120, deadline=None, derandomize=True, database=None)
        @given(_calls)
        def check(call: tuple[Words, Values]) -> None:
            seen = self.asked(*call)
            if seen is not None:
                self.assertEqual(seen, self.expected(*call))

        check()

    def test_the_ordinary(self) -> None:
        """It is not left to Python."""
        command = b"git-annex-shell 'p2pstdio' '/srv/x' 'U' --uuid V"
        original = {b"SSH_ORIGINAL_COMMAND": command}
        for arguments, environ in (
            ([], original),
            ([b"--user", b"alice"], original),
            ([b"--user=alice", b"--user", b"bo"], original),
            ([b"-c", command], {}),
            ([b"-c", command], original),
            ([b"--user", b"al", b"-c", command], {b"GIT_ANNEX_SHELL_READONLY": b"", b"HOME": b"/h"}),
            ([b"-c", b"/usr/bin/annexd-shell --user=bo"], original),
            ([b"-c", b"\tgit-annex-shell\x0b--user  bo\r\n"], original),
            ([b"-c", b"git-annex-shell"], original),
            ([b"--user", b"al"], {**original, b"SSH_CONNECTION": b"192.0.2.7 1 192.0.2.1 22"}),
            ([b"-c", b"git-upload-pack '/x'"], original),
            ([b"-c", b"x" * 100_000], {b"GIT_ANNEX_SHELL_DIRECTORY": b"y" * 100_000}),
        ):
            self.assertHandedOver(arguments, environ)

    def test_a_client_does_not_choose_who_it_is(self) -> None:
        line = b"annexd-shell --user root"
        for arguments, original in (
            ([b"-c", line], b""),
            ([b"-c", line], line),
            ([b"--user", b"alice", b"-c", line], b"x"),
            ([b"--user=", b"-c", line], b"x"),
            ([], line),
        ):
            seen = self.assertHandedOver(arguments, {b"SSH_ORIGINAL_COMMAND": original})
            self.assertNotIn(b"user=root", seen.split(b"\0"))
            self.assertIn(b"command=" + line, seen.split(b"\0"))

    def assertHandedOver(self, arguments: Words, environ: Values) -> bytes:
        seen = self.asked(arguments, environ)
        assert seen is not None, arguments
        self.assertEqual(seen, self.expected(arguments, environ))
        return seen

    def test_a_directory_that_was_removed(self) -> None:
        gone = self.directory / "gone"
        gone.mkdir()
        line = f"cd {gone} && rmdir {gone} && exec {self.program} --socket {self.socket} -c x"
        subprocess.run(["sh", "-c", line], timeout=SECONDS, check=True, env={})
        [seen] = self.frames
        self.assertEqual(seen[4:], b"shell\0command=x")


class Answers(WithDaemon):
    """The output, the errors and the exit code of both programs."""

    def both(self, *arguments: str, **environ: str) -> tuple[int, bytes, bytes]:
        answers = [
            self.run_shim(*arguments, program=program, **environ)
            for program in (PYTHON_SHELL, compiled_shell())
        ]
        self.assertEqual(answers[0], answers[1], (arguments, environ))
        return answers[0]

    def test_odd_arguments(self) -> None:
        frames = self.daemon_for_all(b"w7\n")
        words = (
            "annexd-shell --nonsense",
            "annexd-shell --user bo x",
            "annexd-shell --user",
            "annexd-shell --help",
        )
        forced = [["-c", word] for word in words]
        for arguments in (
            ["--usr", "x"],
            ["--user"],
            ["--", "x"],
            ["--help"],
            ["-c", "-c"],
            ["x", "it's"],
            *forced,
        ):
            frames.clear()
            code, _, error = self.both(*arguments, SSH_ORIGINAL_COMMAND="ls")
            self.assertEqual(frames[: len(frames) // 2], frames[len(frames) // 2 :], arguments)
            self.assertEqual(bool(frames), code == 7)
            self.assertEqual(bool(error), code == 1)

    def test_answers(self) -> None:
        run = to_run(b"sh", b"-c", b"read x; echo $x $ANNEXD_SHELL_RAN; exit 4")
        for answer, code in (
            (b"", 1),
            (b"w", 1),
            (b"w0\n", 0),
            (b"w255\n", 255),
            (b"w300\n", 44),
            (b"r", 1),
            (b"r\0\0\0", 1),
            (b"r\0\0\0\x02s", 1),
            (to_run(b"/nonexistent/git-annex-shell", b"x"), 1),
            (to_run(b"git-annex-shell"), 1),
            (to_run(*(b"/bin/sh", b"-c", b"exit $#", b"sh"), *(b"",) * 9), 9),
            (run, 4),
        ):
            self.daemon_for_all(answer)
            self.assertEqual(self.both("-c", "x")[0], code, answer)

    def test_where_programs_are(self) -> None:
        for name in ("sh", "git-annex-shell"):
            (self.directory / name).write_text(f"#!/bin/sh\necho {name} $ANNEXD_SHELL_RAN $PATH")
        (self.directory / "git-annex-shell").chmod(0o755)
        paths = (
            str(self.directory),
            f":/nonexistent::{self.directory}:",
            f"{self.directory}:{'x' * 5000}",
            "",
            ":",
        )
        for name, code in ((b"git-annex-shell", 0), (b"sh", 127), (b"annexd-none", 1)):
            self.daemon_for_all(to_run(name))
            for path in paths[: 3 if name == b"git-annex-shell" else 5]:
                self.assertEqual(self.both("-c", "x", PATH=path)[0], code, (name, path))

    def test_where_the_socket_is(self) -> None:
        frames = self.daemon_for_all(b"w7\n")
        nobody = str(self.directory / "nobody")
        (self.directory / "annexd").mkdir()
        os.link(self.socket, self.directory / "annexd" / "annexd.sock")
        runtime = {"ANNEXD_SOCKET": "", "XDG_RUNTIME_DIR": str(self.directory)}
        for arguments, environ, code in (
            (["--socket", nobody], {}, 1),
            (["--socket="], {}, 7),
            (["--socket", str(self.socket)], {"ANNEXD_SOCKET": nobody}, 7),
            (["--socket", str(self.socket), "--socket", nobody], {}, 7),
            ([], {"ANNEXD_SOCKET": "/" + "x" * 106}, 1),
            ([], {"ANNEXD_SOCKET": "/" + "x" * 107}, 1),
            ([], {"ANNEXD_SOCKET": "/" + "x" * 10_000}, 1),
            ([], {"ANNEXD_SOCKET": "", "XDG_RUNTIME_DIR": nobody}, 1),
            ([], runtime, 7),
        ):
            frames.clear()
            self.assertEqual(self.both(*arguments, "-c", "x", **environ)[0], code, (arguments, environ))
            self.assertEqual(len(frames), 2 if code == 7 else 0)


class Alone(WithDaemon):
    """What only the compiled program has."""

    def test_a_daemon_that_does_not_answer(self) -> None:
        over = threading.Event()
        self.daemon(lambda asked: (asked.close_fds(), over.wait())[0])
        try:
            seen = self.run_shim("-c", "x", program=compiled_shell("-DANSWER_SECONDS=1.0"))
        finally:
            over.set()
        self.assertEqual(seen, (1, b"", b"annexd-shell: the daemon has not answered within 1 seconds\n"))

    def test_waiting_has_no_deadline(self) -> None:
        over = threading.Event()

        def answer(asked: object) -> None:
            asked.connection.sendall(b"w")
            over.wait(1.5)
            asked.connection.sendall(b"5\n")

        self.daemon(answer)
        self.assertEqual(self.run_shim("-c", "x", program=compiled_shell("-DANSWER_SECONDS=1.0"))[0], 5)

    def test_an_answer_that_is_too_long(self) -> None:
        self.daemon_for_all(b"r\xff\xff\xff\xff")
        code, _, error = self.run_shim("-c", "x", program=compiled_shell())
        self.assertEqual(
            (code, error), (1, b"annexd-shell: the daemon names a program with too many arguments\n")
        )

    def test_nonsense_is_no_exit_code(self) -> None:
        for answer in (b"w\n", b"w4", b"wx\n", b"w-1\n"):
            self.daemon_for_all(answer)
            code, _, error = self.run_shim("-c", "x", program=compiled_shell())
            self.assertEqual((code, error.count(b"the daemon went away")), (1, 1), answer)

    def test_a_full_house(self) -> None:
        """Python tries again for a while."""
        self.listener().listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(str(self.socket))
        program = compiled_shell("-UPYTHON", '-DPYTHON="/bin/echo"')
        self.assertIn(_REST, self.run_shim("-c", "x", program=program)[1])

    def test_another_python(self) -> None:
        program = compiled_shell("-UPYTHON", '-DPYTHON="/nonexistent/python3"')
        self.assertEqual(self.run_shim("--version", program=program)[0], 0)

    def test_the_rest_is_gone(self) -> None:
        """The ordinary still works."""
        program = compiled_shell("-USCRIPT", '-DSCRIPT="/nonexistent/annexd_shell.py"')
        code, out, error = self.run_shim("--version", program=program)
        self.assertEqual((code, out, error.count(b"\n")), (1, b"", 1))
        self.assertIn(b"is not at /nonexistent/annexd_shell.py any more", error)
        self.daemon_for_all(b"w7\n")
        self.assertEqual(self.run_shim("-c", "x", program=program)[0], 7)
