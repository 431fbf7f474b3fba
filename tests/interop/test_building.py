"""`annexd build-shell`: what it makes, and what it leaves alone."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd import __version__
from annexd.app import building
from annexd.app.cli import main
from annexd.app.installed import is_stand_in
from tests.support.compiled_shell import PYTHON_SHELL

_SECONDS = 60


class Building(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.output = self.directory / "annexd-shell"

    def build(self, *arguments: str, **environ: str) -> tuple[int, str]:
        """The exit code, and what was said."""
        for name, value in environ.items():
            self.patch(os, "environ", {**os.environ, name: value})
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return main(["build-shell", *arguments]), said.getvalue()

    def version(self) -> str:
        done = subprocess.run([self.output, "--version"], capture_output=True, text=True, timeout=_SECONDS)
        return done.stdout + done.stderr

    def assertCompiled(self) -> None:
        self.assertEqual(self.output.read_bytes()[:4], b"\x7fELF")
        self.assertEqual(os.stat(self.output).st_mode & 0o777, 0o755)
        self.assertTrue(is_stand_in(str(self.output)))
        self.assertEqual(self.version(), f"annexd-shell {__version__}\n")
        self.assertEqual(os.listdir(self.directory), ["annexd-shell"])

    def test_where_it_is_told(self) -> None:
        said = f"{self.output} is a compiled program now\n"
        self.assertEqual(self.build("--output", str(self.output)), (0, said))
        self.assertCompiled()

    def test_beside_annexd(self) -> None:
        """In the place of the script, and again of itself, whatever the umask and whoever runs it."""
        shutil.copy(PYTHON_SHELL, self.output)
        self.patch(sys, "argv", [str(self.directory / "annexd")])
        self.addCleanup(os.umask, os.umask(0o077))
        for _ in range(2):
            self.assertEqual(self.build()[0], 0)
            self.assertCompiled()

    def test_nothing_beside_annexd(self) -> None:
        self.patch(sys, "argv", [str(self.directory / "annexd")])
        code, said = self.build()
        self.assertEqual((code, said.count("\n")), (1, 1))
        self.assertIn("--output", said)

    def test_something_else_is_left_alone(self) -> None:
        self.output.write_text("#!/bin/sh\n")
        code, said = self.build("--output", str(self.output))
        self.assertEqual((code, self.output.read_text()), (1, "#!/bin/sh\n"))
        self.assertIn("something else", said)

    def test_a_place_that_cannot_be(self) -> None:
        for place in (self.directory, self.directory / "none" / "annexd-shell", Path("/proc/annexd-shell")):
            code, said = self.build("--output", str(place))
            self.assertEqual((code, said.count("\n")), (1, 1), said)
            self.assertIn(f"{place} cannot be made", said)

    def test_no_compiler(self) -> None:
        shutil.copy(PYTHON_SHELL, self.output)
        for compiler, reason in (
            ("annexd-no-cc", "there is no C compiler here (annexd-no-cc)"),
            ("false", "false cannot compile annexd-shell"),
        ):
            code, said = self.build("--output", str(self.output), CC=compiler)
            expected = f"annexd: {reason}: the Python program does the same in more time\n"
            self.assertEqual((code, said), (1, expected))
            self.assertEqual(os.listdir(self.directory), ["annexd-shell"])
            self.assertEqual(self.version(), f"annexd-shell {__version__}\n")

    def test_what_the_compiler_says(self) -> None:
        code, said = self.build("--output", str(self.output), CC="cc --annexd-nonsense")
        self.assertEqual(code, 1)
        self.assertIn("--annexd-nonsense", said)

    def test_odd_paths(self) -> None:
        """Of annexd and of Python: whatever a name may have reaches the program as it is."""
        odd = self.directory / os.fsdecode(b'it\'s "a" ?? \\x\n%s $HOME \xff\xc3\xa9 7')
        odd.mkdir()
        for suffix in (".py", ".c"):
            shutil.copy(PYTHON_SHELL.with_suffix(suffix), odd / f"annexd_shell{suffix}")
        (odd / "python3").write_text('#!/bin/sh\nprintf %s "$6"')
        (odd / "python3").chmod(0o755)
        self.patch(building, "_SCRIPT", odd / "annexd_shell.py")
        self.patch(sys, "executable", str(odd / "python3"))
        self.assertEqual(self.build("--output", str(self.output))[0], 0)
        done = subprocess.run([self.output, "x"], capture_output=True, timeout=_SECONDS)
        self.assertEqual(done.stdout, os.fsencode(odd / "annexd_shell.py"))
