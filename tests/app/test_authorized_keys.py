"""authorized_keys: each line is honoured in all that it says, or not at all."""

from __future__ import annotations

import base64
import struct

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.authorized_keys import LONGEST_LINE, Entry, parse, parse_line
from annexd.app.key_conditions import Origins, expiry
from tests.support.ssh_keys import authorized, ecdsa_key, ed25519_key, rsa_key

KEY = ed25519_key()
BLOB = KEY.public().blob()
NAMED = 'command="annexd-shell --user alice"'


class Keys(SynchronousTestCase):
    def test_kinds(self) -> None:
        for key in (KEY, ecdsa_key(), ecdsa_key(ec.SECP384R1()), ecdsa_key(ec.SECP521R1()), rsa_key()):
            self.assertEqual(Entry(key.public().blob()), parse_line(authorized(key)))
            self.assertEqual("alice", parse_line(authorized(key, NAMED)).user)

    def test_comments_may_be_anything(self) -> None:
        for comment in ("", "one two", 'quo"te', "\xe4\xf6", "# x", 'command="x"'):
            self.assertEqual(BLOB, parse_line(authorized(KEY, NAMED, comment)).key)

    def test_blanks(self) -> None:
        self.assertEqual(
            "alice", parse_line(authorized(KEY, NAMED).replace(b'alice" ssh', b'alice"  \tssh')).user
        )

    def test_other_kinds(self) -> None:
        for name in (b"ssh-dss", b"sk-ssh-ed25519@openssh.com", b"ssh-ed25519-cert-v01@openssh.com"):
            line = name + b" " + base64.b64encode(NS(name) + NS(bytes(32))) + b" x"
            self.assert_problem(line, f"keys of the type {name.decode()} are not accepted here")

    def test_weak(self) -> None:
        blob = NS(b"ssh-rsa") + NS(b"\1\0\1") + NS(b"\0" + b"\xff" * 128)
        self.assert_problem(
            b"ssh-rsa " + base64.b64encode(blob), "the RSA key has 1024 bits; 2048 are the least"
        )

    def test_damaged(self) -> None:
        whole = base64.b64encode(BLOB)
        for written in (
            whole[:-4],
            whole[:-1],
            whole + b"AAAA",
            b"A" + whole,
            b"!" * 20,
            base64.b64encode(NS(b"ssh-rsa") + BLOB[15:]),
            base64.b64encode(NS(b"ssh-ed25519")),
            base64.b64encode(NS(b"ssh-ed25519") + NS(bytes(31))),
            base64.b64encode(NS(b"ssh-ed25519") + NS(bytes(32)) + NS(b"")),
            base64.b64encode(struct.pack(">L", 1 << 31) + b"ssh-ed25519"),
        ):
            self.assert_problem(b"ssh-ed25519 " + written, "the key is damaged")

    def test_no_key(self) -> None:
        for line in (
            b"x",
            b"ssh-ed25519",
            NAMED.encode(),
            NAMED.encode() + b" ssh-ed25519",
            b"no key at all",
        ):
            self.assertRaises(ValueError, parse_line, line)

    def test_long(self) -> None:
        self.assert_problem(
            authorized(KEY, NAMED, "x" * LONGEST_LINE), f"the line has more than {LONGEST_LINE} bytes"
        )

    def assert_problem(self, line: bytes, sentence: str) -> None:
        self.assertEqual(sentence, str(self.assertRaises(ValueError, parse_line, line)))


class Options(SynchronousTestCase):
    def line(self, options: str) -> Entry:
        return parse_line(authorized(KEY, options))

    def assert_problem(self, options: str, sentence: str) -> None:
        self.assertEqual(sentence, str(self.assertRaises(ValueError, self.line, options)))

    def test_users(self) -> None:
        for command in (
            "annexd-shell --user alice",
            "/usr/local/bin/annexd-shell --user=alice",
            "annexd-shell --socket /run/a.sock --user alice",
            "annexd-shell --user alice --user bob",
            "PATH=/opt/bin:/bin ANNEXD_SOCKET=/run/a annexd-shell --user alice",
            "annexd-shell --user 'alice'",
            'annexd-shell --user alice -c \\"$SSH_ORIGINAL_COMMAND\\"',
        ):
            self.assertEqual("alice", self.line(f'restrict,command="{command}"').user, command)
        self.assertEqual("", self.line('command="git-annex-shell -c \\"$SSH_ORIGINAL_COMMAND\\""').user)

    def test_commands_of_another_kind(self) -> None:
        for command, sentence in (
            ("/bin/sh", "the forced command is not annexd-shell"),
            ("internal-sftp", "the forced command is not annexd-shell"),
            ("X=1", "the variable X means nothing here"),
            ("LD_PRELOAD=/x annexd-shell", "the variable LD_PRELOAD means nothing here"),
            ("annexd-shell --user alice; id", "the forced command has more than options"),
            ("annexd-shell --user alice ls", "the forced command has more than options"),
            ("annexd-shell --user alice -c ls", "the forced command has more than options"),
            ("annexd-shell --help", "the forced command has --help, which means nothing here"),
            ("annexd-shell --user", "the forced command has --user, which means nothing here"),
            ("annexd-shell --user ''", "'' cannot be the name of a user"),
            ("annexd-shell --user token:x", "'token:x' cannot be the name of a user"),
            ("annexd-shell --user 'a b'", "'a b' cannot be the name of a user"),
            ("annexd-shell --user 'a", None),
            ("", None),
        ):
            error = self.assertRaises(ValueError, self.line, f'command="{command}"')
            if sentence is not None:
                self.assertEqual(sentence, str(error))

    def test_limits(self) -> None:
        self.assertEqual(
            {b"readonly": b"1", b"directory": b"/srv/x y"},
            self.line(
                "command=\"GIT_ANNEX_SHELL_READONLY=1 GIT_ANNEX_SHELL_DIRECTORY='/srv/x y' annexd-shell\""
            ).limits,
        )
        entry = self.line(
            'environment="GIT_ANNEX_SHELL_APPENDONLY=true",environment="GIT_ANNEX_SHELL_LIMITED=1"'
        )
        self.assertEqual({b"appendonly": b"true", b"limited": b"1"}, entry.limits)

    def test_limits_twice(self) -> None:
        """Which one would hold?"""
        self.assert_problem(
            'environment="GIT_ANNEX_SHELL_READONLY=",command="GIT_ANNEX_SHELL_READONLY=1 annexd-shell"',
            "the variable GIT_ANNEX_SHELL_READONLY is set twice",
        )

    def test_what_nobody_may_do_here(self) -> None:
        options = "restrict,no-pty,No-X11-Forwarding,no-agent-forwarding,no-port-forwarding,no-user-rc"
        self.assertEqual(Entry(BLOB), self.line(options))
        self.assertEqual(Entry(BLOB), self.line('permitopen="a:1",permitlisten="b:2"'))

    def test_what_cannot_be_honoured(self) -> None:
        for option in (
            *("pty", "port-forwarding", "agent-forwarding", "X11-forwarding", "user-rc", "cert-authority"),
            *('principals="x"', 'tunnel="1"', "no-touch-required", "verify-required", "unheard-of"),
        ):
            name = option.partition("=")[0].lower()
            self.assert_problem(option, f"the option {name} cannot be honoured here")
            self.assert_problem(f"restrict,{option},{NAMED}", f"the option {name} cannot be honoured here")

    def test_values(self) -> None:
        for option in ("command", "from", "expiry-time", "environment", 'from=""'):
            name = option.partition("=")[0]
            self.assert_problem(option, f'the option {name} needs a value, as in {name}="..."')

    def test_twice(self) -> None:
        for option in (NAMED, 'from="*"', 'expiry-time="20300101"', "restrict"):
            name = option.partition("=")[0]
            self.assert_problem(f"{option},{option}", f"the option {name} is there twice")

    def test_bad_lists(self) -> None:
        for options in (",restrict", "restrict,", "restrict,,no-pty", "restrict=x", "re$trict", 'from="a"b'):
            self.assertRaises(ValueError, self.line, options)
        self.assert_problem('command="x', "a quotation is left open")

    @given(st.text(st.characters(codec="utf-8", exclude_characters='\n"\\', exclude_categories=["Cs"])))
    @example("'")
    def test_no_option_is_ignored(self, value: str) -> None:
        """Whatever the command says: it names a user, or the line is left out."""
        try:
            entry = self.line(f'restrict,command="annexd-shell --user {value}"')
        except ValueError:
            return
        self.assertTrue(entry.user == "" or entry.user in value.replace("'", ""))
        self.assertTrue(entry.user.isprintable() and ":" not in entry.user)

    @given(st.binary(max_size=200))
    def test_any_line(self, line: bytes) -> None:
        """A sentence, or an entry; nothing else."""
        for text in (line, line + b" " + authorized(KEY)):
            try:
                self.assertIn(parse_line(text or b"x").key, (BLOB,))
            except ValueError as error:
                self.assertTrue(str(error))


class Files(SynchronousTestCase):
    def test_lines(self) -> None:
        text = b"\n".join(
            (b"# comment", b"", authorized(KEY, NAMED), b"  ", b"nonsense", b"  # x", authorized(KEY, NAMED))
        )
        entries, problems = parse(text, "/k")
        self.assertEqual(["/k:3", "/k:7"], [entry.place for entry in entries])
        self.assertEqual([("/k:5", "there is no key in the line")], [(p.place, p.sentence) for p in problems])

    def test_each_line_names_a_user(self) -> None:
        for options in ("", "restrict", 'command="annexd-shell"'):
            entries, [problem] = parse(authorized(KEY, options), "/k")
            self.assertEqual([], entries)
            self.assertIn("the line names no user", problem.sentence)

    def test_files_of_one_user(self) -> None:
        for options in ("", "restrict", 'command="annexd-shell"', NAMED):
            entries, _ = parse(authorized(KEY, options), "/k", "alice")
            self.assertEqual(["alice"], [entry.user for entry in entries])
        entries, [problem] = parse(authorized(KEY, NAMED), "/k", "bob")
        self.assertEqual(
            ([], "the file is that of bob, and the line names alice"), (entries, problem.sentence)
        )

    def test_windows(self) -> None:
        entries, _ = parse(authorized(KEY, NAMED) + b"\r\n", "/k")
        self.assertEqual(BLOB, entries[0].key)


class Conditions(SynchronousTestCase):
    def test_origins(self) -> None:
        for patterns, inside, outside in (
            ("192.0.2.1", ["192.0.2.1"], ["192.0.2.10", "192.0.2.2"]),
            ("192.0.2.*,10.0.0.0/8", ["192.0.2.77", "10.1.2.3"], ["192.0.3.1", "11.0.0.1"]),
            ("192.0.2.?", ["192.0.2.7"], ["192.0.2.77"]),
            ("*,!192.0.2.1", ["192.0.2.2", "2001:db8::1"], ["192.0.2.1"]),
            ("!192.0.2.0/24,*", ["10.0.0.1"], ["192.0.2.1"]),
            ("!10.0.0.1", [], ["10.0.0.1", "10.0.0.2"]),
            ("2001:db8::/32", ["2001:db8:1::1"], ["2001:db9::1", "10.0.0.1"]),
            ("2001:DB8::1", ["2001:db8::1"], ["2001:db8::2"]),
            ("0.0.0.0/0", ["10.0.0.1"], ["2001:db8::1", "unix", ""]),
        ):
            origins = Origins.parse(patterns)
            self.assertEqual([True] * len(inside), [origins.cover(address) for address in inside], patterns)
            self.assertEqual(
                [False] * len(outside), [origins.cover(address) for address in outside], patterns
            )

    def test_bad_origins(self) -> None:
        for patterns in (
            "host.example.org",
            "*.example.org",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "a,",
            "",
            "10.*,x",
        ):
            self.assertRaises(ValueError, Origins.parse, patterns)

    def test_moments(self) -> None:
        for value, seconds in (
            ("19700102Z", 86400),
            ("197001020000Z", 86400),
            ("19700102000001Z", 86401),
            ("20380119031408Z", 1 << 31),
        ):
            self.assertEqual(seconds, expiry(value))
        self.assertEqual(60, expiry("202601010001") - expiry("20260101"))

    def test_bad_moments(self) -> None:
        for value in ("", "2026", "20261301", "2026010112", "20260101T00", "20260101z", "20260230", "x" * 50):
            self.assertRaises(ValueError, expiry, value)
