"""What the command line and the configuration add up to."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.access import Rights
from annexd.app.plan import Current, Plan, plan
from annexd.errors import ConfigError
from annexd.router.places import Served
from tests.router.test_places import make


class Written(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.realpath(self.mktemp())
        os.mkdir(self.directory)
        self.file = os.path.join(self.directory, "annexd.toml")
        self.repository = os.path.join(self.directory, "x")
        make(os.fsencode(self.repository) + b"/.git")

    def write(self, text: str) -> None:
        with open(self.file, "w") as file:
            file.write(text)


class Plans(Written):
    def test_command_line_alone(self) -> None:
        config = plan(None, None, "json", [self.repository + "/"]).config()
        self.assertEqual((Served(os.fsencode(self.repository)),), config.served)
        self.assertEqual("json", config.daemon.log_format)

    def test_relative(self) -> None:
        here = os.path.relpath(self.repository)
        self.assertEqual((self.repository,), plan(None, None, None, [here]).repositories)

    def test_both(self) -> None:
        self.write('[daemon]\nfsync = false\n[[repository]]\npath = "/srv/a"\n')
        config = plan(self.file, None, None, [self.repository]).config()
        self.assertEqual(
            (Served(os.fsencode(self.repository), fsync=False), Served(b"/srv/a", fsync=False)), config.served
        )

    def test_no_repository(self) -> None:
        error = self.assertRaises(ConfigError, plan, None, None, None, [self.directory])
        self.assertEqual(f"{self.directory} is not a git repository", str(error))

    def test_nothing_to_serve(self) -> None:
        self.assertIn("no configuration", str(self.assertRaises(ConfigError, Plan().config)))
        self.write("")
        error = self.assertRaises(ConfigError, Plan(self.file).config)
        self.assertIn(f"{self.file} names none", str(error))

    def test_whose_socket_counts(self) -> None:
        self.write('[daemon]\nsocket = "/config"\n[[repository]]\npath = "/srv/a"\n')
        config = Plan(self.file).config()
        self.assertEqual("/config", Plan(self.file).socket_path(config, {}))
        self.assertEqual("/env", Plan(self.file).socket_path(config, {"ANNEXD_SOCKET": "/env"}))
        self.assertEqual("/given", Plan(socket="/given").socket_path(config, {"ANNEXD_SOCKET": "/env"}))


class Again(Written):
    def setUp(self) -> None:
        super().setUp()
        self.write('[[repository]]\npath = "/srv/a"\n')
        self.current = Current(Plan(self.file))

    def test_new_values(self) -> None:
        self.write(
            '[[repository]]\npath = "/srv/b"\n[deadlines]\nidle = 7\n'
            '[[access]]\nusers = ["*"]\nrights = "none"\n'
        )
        self.assertEqual([], self.current.use(self.current.read_again()))
        self.assertEqual(b"/srv/b", self.current.config.served[0].path)
        self.assertEqual(7.0, self.current.deadlines.idle)
        self.assertIs(Rights.NONE, self.current.access.rights("alice", b"/srv/b"))

    def test_what_has_to_wait(self) -> None:
        self.write(
            '[[repository]]\npath = "/srv/a"\n[daemon]\nsocket = "/x"\n'
            'disk-threads = 3\nlog-level = "debug"\n'
        )
        former = self.current.config
        latter = self.current.read_again()
        self.assertIs(former, self.current.config)
        self.assertEqual(["daemon.socket", "daemon.disk-threads"], self.current.use(latter))
        self.assertIs(latter, self.current.config)

    def test_errors_change_nothing(self) -> None:
        former = self.current.config
        self.write("[[repository]]\n")
        self.assertRaises(ConfigError, self.current.read_again)
        self.assertIs(former, self.current.config)
