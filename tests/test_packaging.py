"""What is shipped: the wheel, what it installs, and that twistd finds the plugin."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from annexd import __version__
from annexd.client.annexd_shell import VERSION

CHECKOUT = Path(__file__).resolve().parents[1]
_SECONDS = 300

_COPIED = ("annexd", "twisted", "etc", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE")


def run(*argv: str | Path, cwd: Path) -> str:
    """Its output, both streams; fails with it."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Wheel(TestCase):
    """
    Built from a copy, so that nothing is left in the checkout, and installed
    over the libraries of the environment that runs the tests.
    """

    timeout = 600

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def build(self) -> Path:
        source = self.scratch / "source"
        source.mkdir()
        run("cp", "-a", *(CHECKOUT / name for name in _COPIED), source, cwd=self.scratch)
        run(
            *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"),
            *("--wheel-dir", self.scratch, source),
            cwd=self.scratch,
        )
        [wheel] = self.scratch.glob("annexd-*.whl")
        return wheel

    def install(self, wheel: Path) -> Path:
        """The bin directory of a new environment that sees this one's libraries, but not the checkout."""
        environment = self.scratch / "env"
        run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=self.scratch)
        [packages] = environment.glob("lib/python*/site-packages")
        seen = [path for path in sys.path if path.endswith("-packages")]
        (packages / "libraries.pth").write_text("".join(f"{path}\n" for path in seen))
        run(
            *(sys.executable, "-m", "pip", "--python", environment / "bin" / "python"),
            *("install", "-q", "--no-deps", "--force-reinstall", "--ignore-installed", wheel),
            cwd=self.scratch,
        )
        return environment / "bin"

    def test_contents(self) -> None:
        names = set(zipfile.ZipFile(self.build()).namelist())
        self.assertIn("twisted/plugins/annexd_plugin.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)
        self.assertNotIn("twisted/__init__.py", names)
        for module in ("__init__", "tap", "app/cli", "protocol/codec", "repo/layout", "client/annexd_shell"):
            self.assertIn(f"annexd/{module}.py", names)
        self.assertIn("annexd/client/annexd_shell.c", names)
        scripts = {name.partition(".data/")[2] for name in names if ".data/" in name}
        for name in ("annexd-shell", "git-annex-p2p-annexd", "git-remote-p2p-annex"):
            self.assertIn(f"scripts/{name}", scripts)
        for name in ("annexd", "annexd-shell", "git-annex-p2p-annexd"):
            self.assertIn(f"data/share/man/man1/{name}.1", scripts)
        strangers = {name.split("/")[0] for name in names if not name.startswith("annexd-")}
        self.assertEqual({"annexd", "twisted"}, strangers)

    def test_installed(self) -> None:
        bin = self.install(self.build())
        place = run(bin / "python", "-c", "import annexd; print(annexd.__file__)", cwd=self.scratch)
        self.assertTrue(place.startswith(str(self.scratch)), place)
        twistd = "from twisted.scripts.twistd import run; run()"
        shown = run(bin / "python", "-c", twistd, "annexd", "--help", cwd=self.scratch)
        self.assertIn("--config=", shown)
        self.assertIn("annexd serve", run(bin / "annexd", "serve", "--help", cwd=self.scratch))
        self.assertIn("annexd ", run(bin / "annexd", "--version", cwd=self.scratch))
        self.assertIn("annexd-shell", run(bin / "annexd-shell", "--help", cwd=self.scratch))

    def test_compiled(self) -> None:
        """It takes the place of the script; without the package it says so."""
        wheel = self.build()
        self.assertIn("-none-any.whl", wheel.name)
        bin = self.install(wheel)
        run(bin / "annexd", "build-shell", cwd=self.scratch)
        shell = bin / "annexd-shell"
        self.assertEqual(shell.read_bytes()[:4], b"\x7fELF")
        self.assertEqual(f"annexd-shell {__version__}\n", run(shell, "--version", cwd=self.scratch))
        (bin / "python").unlink()
        self.assertEqual(f"annexd-shell {__version__}\n", run(shell, "--version", cwd=self.scratch))
        moved = bin.parent.rename(self.scratch / "moved") / "bin" / "annexd-shell"
        done = subprocess.run([moved, "--version"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1))
        self.assertIn("install it again", done.stderr)

    def test_what_a_client_installs(self) -> None:
        """No other library, and the programs run through links, as pipx makes them."""
        environment = self.scratch / "client"
        run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=self.scratch)
        pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
        run(*pip, "install", "-q", "--no-index", self.build(), cwd=self.scratch)
        links = self.scratch / "links"
        links.mkdir()
        for name in ("annexd", "annexd-shell", "git-annex-p2p-annexd", "git-remote-p2p-annex"):
            (links / name).symlink_to(environment / "bin" / name)
        self.assertIn("annexd-shell", run(links / "annexd-shell", "--help", cwd=self.scratch))
        said = run(links / "git-annex-p2p-annexd", "--version", cwd=self.scratch)
        self.assertEqual(said, f"git-annex-p2p-annexd {__version__}\n")
        for command, part in {
            "git-annex-p2p-annexd nobody.invalid:1": "there is no host nobody.invalid",
            "git-remote-p2p-annex x fake:y": "there is no token for p2p-annex::fake:y",
            "annexd serve": "pip install 'annexd[server]'",
        }.items():
            program, *arguments = command.split()
            done = subprocess.run(
                [links / program, *arguments],
                input="connect git-upload-pack\n",
                cwd=self.scratch,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
            self.assertEqual((done.returncode, part in done.stderr), (1, True), done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_both_versions_are_the_same(self) -> None:
        self.assertEqual(__version__, VERSION)
