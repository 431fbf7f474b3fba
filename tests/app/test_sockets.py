"""Where the socket is, and who may serve on it."""

from __future__ import annotations

import os
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.notify import Notify
from annexd.app.sockets import Claim, asking_socket, serving_socket
from annexd.errors import ConfigError


class Scratch(SynchronousTestCase):
    """Trial's own directories are too deep for sockets."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.path = os.path.join(scratch.name, "run", "annexd.sock")


class Choice(Scratch):
    def test_given(self) -> None:
        self.assertEqual("/a/b", serving_socket("/a/b", {"ANNEXD_SOCKET": "/c"}))
        self.assertEqual("/a/b", asking_socket("/a/b", {"ANNEXD_SOCKET": "/c"}))

    def test_environment(self) -> None:
        environ = {"ANNEXD_SOCKET": "/c", "XDG_RUNTIME_DIR": "/d"}
        self.assertEqual("/c", serving_socket(None, environ))
        self.assertEqual("/c", asking_socket(None, environ))

    def test_system(self) -> None:
        environ = {"XDG_RUNTIME_DIR": self.directory}
        os.mkdir(os.path.dirname(self.path))
        self.assertEqual(self.path, serving_socket(None, environ, self.path))
        self.assertEqual(f"{self.directory}/annexd/annexd.sock", asking_socket(None, environ, self.path))
        open(self.path, "w").close()
        self.assertEqual(self.path, asking_socket(None, environ, self.path))

    def test_own(self) -> None:
        environ = {"XDG_RUNTIME_DIR": self.directory}
        self.assertEqual(f"{self.directory}/annexd/annexd.sock", serving_socket(None, environ, self.path))

    def test_none(self) -> None:
        for choose in (serving_socket, asking_socket):
            error = self.assertRaises(ConfigError, choose, None, {"XDG_RUNTIME_DIR": "/no/where"}, self.path)
            self.assertIn("and there is no /no/where; name one with --socket", str(error))

    def test_too_long(self) -> None:
        self.assertEqual("/" + "x" * 106, serving_socket("/" + "x" * 106, {}))
        error = self.assertRaises(ConfigError, serving_socket, "/" + "x" * 107, {})
        self.assertIn("may have 107 bytes, this one has 108", str(error))


class Claims(Scratch):
    def listen(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(self.path)
        return listening

    def test_one_at_a_time(self) -> None:
        claim = Claim(self.path)
        error = self.assertRaises(ConfigError, Claim, self.path)
        self.assertEqual(f"another annexd serves on {self.path}", str(error))
        claim.release()
        Claim(self.path).release()

    def test_the_directory_is_made_for_its_owner(self) -> None:
        claim = Claim(self.path)
        self.addCleanup(claim.release)
        self.assertEqual(0o700, os.stat(os.path.dirname(self.path)).st_mode & 0o777)

    def test_what_a_crash_left_is_taken_away(self) -> None:
        Claim(self.path).release()
        self.listen().close()
        self.assertTrue(os.path.exists(self.path))
        claim = Claim(self.path)
        self.assertFalse(os.path.exists(self.path))
        self.listen()
        claim.release()
        self.assertFalse(os.path.exists(self.path))

    def test_a_living_daemon_s_socket_is_left_alone(self) -> None:
        claim = Claim(self.path)
        self.addCleanup(claim.release)
        self.listen()
        self.assertRaises(ConfigError, Claim, self.path)
        self.assertTrue(os.path.exists(self.path))

    def test_something_else_is_left_alone(self) -> None:
        os.mkdir(os.path.dirname(self.path))
        open(self.path, "w").close()
        error = self.assertRaises(ConfigError, Claim, self.path)
        self.assertEqual(f"{self.path} is there, and is not a socket", str(error))
        self.assertTrue(os.path.exists(self.path))

    def test_no_directory_can_be_made(self) -> None:
        blocker = os.path.join(self.directory, "file")
        open(blocker, "w").close()
        error = self.assertRaises(ConfigError, Claim, os.path.join(blocker, "annexd.sock"))
        self.assertIn("file", str(error))


class Notifying(Scratch):
    def test_messages(self) -> None:
        path = os.path.join(self.directory, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(path)
            notify = Notify({"NOTIFY_SOCKET": path})
            notify.ready()
            notify.stopping()
            self.assertEqual([b"READY=1", b"STOPPING=1"], [systemd.recv(99), systemd.recv(99)])

    def test_abstract_address(self) -> None:
        name = f"annexd-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind("\0" + name)
            Notify({"NOTIFY_SOCKET": "@" + name}).status("fine")
            self.assertEqual(b"STATUS=fine", systemd.recv(99))

    def test_nobody_asked(self) -> None:
        Notify({}).ready()

    def test_nobody_there(self) -> None:
        Notify({"NOTIFY_SOCKET": "/nonexistent/notify"}).ready()
