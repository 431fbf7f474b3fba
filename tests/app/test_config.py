"""annexd.toml: what it may say, and how it is told what is wrong."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from annexd.app import lines as lines_module
from annexd.app.access import Rights
from annexd.app.config import Config, parse, read
from annexd.app.lines import Lines
from annexd.app.values import duration
from annexd.errors import ConfigError
from annexd.router.places import Served

FULL = """\
[daemon]
socket = "/run/x/annexd.sock"
log-format = "json"
log-level = "debug"
fsync = false
git-annex = "/opt/git-annex"
disk-threads = 2
transfer-threads = 3
max-sessions = 50

[deadlines]
handshake = 5
idle = "1h30m"
stall = "300s"
lock = "2d"
drain = 0

[[repository]]
path = "/srv/a"

[[repository]]
path = "/srv/b.git/"
fsync = true

[[repositories]]
directory = "/srv/annex"

[[access]]
users = ["alice", "b*"]
repositories = ["/srv/a"]
rights = "read-only"

[[access]]
users = [
    "*",
]
rights = "none"
"""


class Good(SynchronousTestCase):
    def test_everything(self) -> None:
        config = parse(FULL, "f")
        self.assertEqual("/run/x/annexd.sock", config.daemon.socket)
        self.assertEqual(("json", "debug", False), astuple(config))
        self.assertEqual((2, 3, 50), (config.daemon.disk_threads, config.daemon.transfer_threads, 50))
        self.assertEqual((5.0, 5400.0, 300.0), (config.deadlines.handshake, config.deadlines.idle, 300.0))
        self.assertEqual((172800.0, 0.0), (config.deadlines.lock, config.deadlines.drain))
        self.assertEqual(
            (
                Served(b"/srv/a", False, False),
                Served(b"/srv/b.git", False, True),
                Served(b"/srv/annex", True, False),
            ),
            config.served,
        )

    def test_rules_know_where_they_were_written(self) -> None:
        first, second = parse(FULL, "f").rules
        self.assertEqual(("f:28", "f:33"), (first.origin, second.origin))
        self.assertEqual((Rights.READ_ONLY, Rights.NONE), (first.rights, second.rights))
        self.assertEqual(("*",), second.repositories)

    def test_empty(self) -> None:
        self.assertEqual(Config(), parse("", "f"))

    def test_home(self) -> None:
        self.patch(os, "environ", {**os.environ, "HOME": "/home/me"})
        [served] = parse('[[repository]]\npath = "~/x"\n', "f").served
        self.assertEqual(b"/home/me/x", served.path)

    def test_durations(self) -> None:
        parser = duration()
        for given, seconds in (
            ("12h", 43200),
            ("1h30m", 5400),
            ("250ms", 0.25),
            ("1.5s", 1.5),
            (7, 7),
            (0.5, 0.5),
        ):
            self.assertEqual(seconds, parser(given))


def astuple(config: Config) -> tuple[str, str, bool]:
    return (config.daemon.log_format, config.daemon.log_level, config.daemon.fsync)


class Bad(SynchronousTestCase):
    def assertSays(self, text: str, *sentences: str) -> None:
        error = self.assertRaises(ConfigError, parse, text, "annexd.toml")
        self.assertEqual(list(sentences), str(error).split("\n"))

    def test_unknown_table(self) -> None:
        self.assertSays("\n[demon]\n", "annexd.toml:2: unknown key 'demon'")

    def test_unknown_key(self) -> None:
        self.assertSays(
            "[deadlines]\nidle = 3\nidel = 3\n",
            "annexd.toml:3: deadlines.idel: unknown key; deadlines has handshake, idle, stall, lock, drain",
        )

    def test_all_at_once_in_their_order(self) -> None:
        self.assertSays(
            '[[access]]\nusers = []\nrights = "rw"\n[daemon]\nfsync = "no"\n',
            'annexd.toml:2: access.users: must be a list of texts, as in ["alice", "b*"], not an empty list',
            "annexd.toml:3: access.rights: must be one of none, read-only, append-only, read-write, not 'rw'",
            "annexd.toml:5: daemon.fsync: must be true or false, not 'no'",
        )

    def test_second_of_several(self) -> None:
        self.assertSays(
            '[[repository]]\npath = "/a"\n\n[[repository]]\npath = "b"\n',
            "annexd.toml:5: repository.path: must be an absolute path, not 'b'",
        )

    def test_missing_key_is_on_the_line_of_its_table(self) -> None:
        self.assertSays(
            '[[repository]]\npath = "/a"\n[[repository]]\n', "annexd.toml:3: repository.path is missing"
        )

    def test_one_bracket_for_two(self) -> None:
        self.assertSays(
            '[repository]\npath = "/a"\n',
            "annexd.toml:1: repository is written [[repository]], with two brackets",
        )

    def test_bad_durations(self) -> None:
        for bad in ('"12 h"', '"h"', '""', '"5x"', "true", "nan", "inf", "[]", "1979-05-27"):
            error = self.assertRaises(ConfigError, parse, f"[deadlines]\nidle = {bad}\n", "f")
            self.assertIn("f:2: deadlines.idle: must be seconds, or a duration", str(error))

    def test_durations_out_of_range(self) -> None:
        self.assertSays(
            "[deadlines]\nidle = 0\n", "annexd.toml:2: deadlines.idle: must be more than 0 seconds"
        )
        self.assertSays(
            "[deadlines]\ndrain = -1\n", "annexd.toml:2: deadlines.drain: must be at least 0 seconds"
        )

    def test_bad_numbers(self) -> None:
        for bad in ("0", "257", "true", '"8"', "1.5"):
            error = self.assertRaises(ConfigError, parse, f"[daemon]\ndisk-threads = {bad}\n", "f")
            self.assertIn("must be a whole number from 1 to 256, not", str(error))

    def test_syntax(self) -> None:
        error = self.assertRaises(ConfigError, parse, "[daemon]\nsocket = \n", "f")
        self.assertEqual("f:2: Invalid value", str(error))

    def test_syntax_at_the_end(self) -> None:
        error = self.assertRaises(ConfigError, parse, '[daemon]\nsocket = "x', "f")
        self.assertIn("f:2: ", str(error))

    def test_no_such_file(self) -> None:
        error = self.assertRaises(ConfigError, read, "/nonexistent/annexd.toml")
        self.assertEqual("/nonexistent/annexd.toml: No such file or directory", str(error))

    def test_not_utf8(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"# \xff\n")
        self.assertIn("byte 2 is not UTF-8", str(self.assertRaises(ConfigError, read, path)))


class Groups(SynchronousTestCase):
    def test_they_stand_for_their_members(self) -> None:
        [rule] = parse(
            '[[access]]\nusers = ["@staff", "carol", "@none"]\nrights = "read-only"\n'
            '[[group]]\nname = "staff"\nmembers = ["alice", "bob-*"]\n'
            '[[group]]\nname = "none"\nmembers = ["token:x"]\n',
            "f",
        ).rules
        self.assertEqual(("alice", "bob-*", "carol", "token:x"), rule.users)
        self.assertTrue(rule.names("bob-2"))

    def assertSays(self, text: str, *sentences: str) -> None:
        error = self.assertRaises(ConfigError, parse, text, "annexd.toml")
        self.assertEqual(list(sentences), str(error).split("\n"))

    def test_unknown(self) -> None:
        self.assertSays(
            '[[access]]\nrights = "read-only"\nusers = ["alice", "@staf", "@"]\n',
            "annexd.toml:3: access.users: there is no [[group]] ",
            "annexd.toml:3: access.users: there is no [[group]] staf",
        )

    def test_twice(self) -> None:
        group = '[[group]]\nname = "x"\nmembers = ["a"]\n'
        self.assertSays(group * 2, "annexd.toml:5: group.name: there is another group x")

    def test_of_groups(self) -> None:
        self.assertSays(
            '[[group]]\nname = "x"\nmembers = ["a", "@y"]\n',
            "annexd.toml:3: group.members: @y is a group, and groups have none",
        )

    def test_incomplete(self) -> None:
        self.assertSays(
            '[[group]]\nname = "x"\n\n[[group]]\nmembers = []\nmember = 1\n',
            "annexd.toml:1: group.members is missing",
            "annexd.toml:4: group.name is missing",
            'annexd.toml:5: group.members: must be a list of texts, as in ["alice", "b*"], not an empty list',
            "annexd.toml:6: group.member: unknown key; group has name, members",
        )


class Others(SynchronousTestCase):
    def test_audit(self) -> None:
        self.assertEqual("/var/log/x", parse('[audit]\nfile = "/var/log/x"\n', "f").audit.file)
        self.assertIsNone(parse("", "f").audit.file)
        error = self.assertRaises(ConfigError, parse, '[audit]\nfile = "x"\nlevel = 1\n', "f")
        self.assertEqual(
            [
                "f:2: audit.file: must be an absolute path, not 'x'",
                "f:3: audit.level: unknown key; audit has file",
            ],
            str(error).split("\n"),
        )

    def test_checks(self) -> None:
        self.assertFalse(parse("", "f").daemon.tells_all)
        self.assertTrue(parse("[daemon]\nlog-checks = true\n", "f").daemon.tells_all)
        self.assertTrue(parse('[daemon]\nlog-level = "debug"\n', "f").daemon.tells_all)
        # Nobody would see them.
        self.assertFalse(parse('[daemon]\nlog-checks = true\nlog-level = "warn"\n', "f").daemon.tells_all)
        error = self.assertRaises(ConfigError, parse, "[daemon]\nlog-checks = 1\n", "f")
        self.assertEqual("f:2: daemon.log-checks: must be true or false, not 1", str(error))

    def test_tokens_of_git_annex(self) -> None:
        [served] = parse('[[repository]]\npath = "/srv/a"\ngit-annex-tokens = true\n', "f").served
        self.assertTrue(served.git_annex_tokens)
        text = '[[repositories]]\ndirectory = "/srv"\ngit-annex-tokens = true\n'
        error = self.assertRaises(ConfigError, parse, text, "f")
        self.assertEqual(
            "f:3: repositories.git-annex-tokens: unknown key; repositories has directory, fsync", str(error)
        )


class WhereThingsAre(SynchronousTestCase):
    def test_values_over_several_lines(self) -> None:
        lines = Lines('a = """\nb = 1\n[c]\n"""\nd = [\n  1,\n]\n[c] # x\n"e f".g = 2\n')
        places = [("a",), ("d",), ("c",), ("c", "e f", "g"), ("nowhere",)]
        self.assertEqual([1, 5, 8, 9, 1], [lines.of(place) for place in places])

    def test_a_long_value_is_not_read_again_and_again(self) -> None:
        """A reload happens in the midst of everything."""
        calls: list[str] = []
        self.patch(
            lines_module, "tomllib", SimpleNamespace(loads=self.counting(calls), TOMLDecodeError=ValueError)
        )
        users = "".join(f'  "user{number}", # one\n' for number in range(500))
        self.assertEqual(503, Lines(f"a = [\n{users}]\nb = 1\n").of(("b",)))
        self.assertLess(len(calls), 10)

    def counting(self, calls: list[str]) -> Callable[[str], object]:
        def loads(text: str) -> object:
            calls.append(text)
            return tomllib.loads(text)

        return loads

    def test_lines_end_as_in_other_systems(self) -> None:
        self.assertEqual(3, Lines("[a]\r\nb = 1\r\nc = 2\r\n").of(("a", "c")))
