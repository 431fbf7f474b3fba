from __future__ import annotations

import shlex

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.sessions.command import (
    ConfigList,
    Delegated,
    Environment,
    Git,
    Nothing,
    NotifyChanges,
    Talk,
    parse,
    shown,
    split,
)

UUID = b"1d51a450-a322-4ce3-a21b-f7e3c79f8f55"
TALK = Talk(b"/srv/x", b"client", UUID)

words = st.binary(max_size=12).map(lambda data: data.replace(b"\0", b""))


def quoted(word: bytes) -> bytes:
    return b"'" + word.replace(b"'", b"'\\''") + b"'"


class ServedTests(SynchronousTestCase):
    """What stock clients send, and what existing set-ups make of it."""

    def test_what_clients_send(self) -> None:
        for line, wanted in {
            b"git-annex-shell 'configlist' '/srv/x'": ConfigList(b"/srv/x"),
            b"git-annex-shell 'configlist' '/srv/x' --uuid " + UUID: ConfigList(b"/srv/x", UUID),
            b"git-annex-shell 'configlist' '/srv/x' '--' 'autoinit=1' '--'": ConfigList(
                b"/srv/x", None, True
            ),
            b"git-annex-shell 'configlist' '/srv/x' '--' 'a=b' 'autoinit=1'": ConfigList(
                b"/srv/x", None, True
            ),
            b"git-annex-shell 'configlist' '/srv/x' '--' 'autoinit=0' '--'": ConfigList(b"/srv/x"),
            b"git-annex-shell 'p2pstdio' '/srv/x' 'client' --uuid " + UUID: TALK,
            b"git-annex-shell 'p2pstdio' '/srv/x' '--debug' 'client' --uuid " + UUID: TALK,
            b"git-annex-shell 'notifychanges' '/srv/x' --uuid " + UUID: NotifyChanges(b"/srv/x", UUID),
            b"git-annex-shell 'gcryptsetup' '/srv/x' ':id:1'": Delegated(
                b"/srv/x", b"gcryptsetup", (b":id:1",)
            ),
            b"git-annex-shell 'inannex' '/x' 'KEY' --uuid U": Delegated(
                b"/x", b"inannex", (b"KEY", b"--uuid", b"U")
            ),
            b"git-upload-pack '/srv/x'": Git(b"/srv/x", b"upload-pack"),
            b"git-receive-pack '/srv/x'": Git(b"/srv/x", b"receive-pack"),
            b"git-upload-archive '/srv/x'": Git(b"/srv/x", b"upload-archive"),
            b"git upload-pack '~/x'": Git(b"~/x", b"upload-pack"),
            b"true": Nothing(),
        }.items():
            self.assertEqual(parse(line), wanted, line)

    def test_paths_of_programs(self) -> None:
        self.assertEqual(parse(b"/usr/bin/git-annex-shell configlist /x"), ConfigList(b"/x"))
        self.assertEqual(parse(b"/opt/git/bin/git-upload-pack /x"), Git(b"/x", b"upload-pack"))

    def test_wrapped_in_c(self) -> None:
        for line in (
            b"annexd-shell configlist /x",
            b"git-annex-shell -c \"git-annex-shell 'configlist' '/x'\"",
            b"git-annex-shell -c -c \"git-annex-shell 'configlist' '/x'\"",
            b"git-annex-shell \"git-annex-shell 'configlist' '/x'\"",
            b"git-annex-shell git-annex-shell configlist /x",
            b"git-annex-shell -c configlist /x",
            b"annexd-shell -c 'git-annex-shell -c \"git-annex-shell configlist /x\"'",
        ):
            self.assertEqual(parse(line), ConfigList(b"/x"), line)
        self.assertEqual(parse(b"git-annex-shell -c 'git-upload-pack /x'"), Git(b"/x", b"upload-pack"))

    def test_uuid(self) -> None:
        for options in (
            b"--uuid=U",
            b"--uuid U --uuid V",
            b"--debugfilter x --uuid U",
            b"-d --uuid U --force",
        ):
            self.assertEqual(parse(b"git-annex-shell p2pstdio /x c " + options), Talk(b"/x", b"c", b"U"))
        self.assertEqual(parse(b"git-annex-shell p2pstdio /x c --uuid ''"), Talk(b"/x", b"c", b""))

    def test_after_the_fields_nothing_counts(self) -> None:
        self.assertEqual(parse(b"git-annex-shell p2pstdio /x c -- a=b -- --uuid U --junk"), Talk(b"/x", b"c"))

    def test_client_uuid_may_be_anything(self) -> None:
        self.assertEqual(parse(b"git-annex-shell p2pstdio /x ''"), Talk(b"/x", b""))
        self.assertEqual(parse(b"git-annex-shell p2pstdio /x 'free text'"), Talk(b"/x", b"free text"))

    def test_any_bytes_in_paths(self) -> None:
        for path in (
            b"/a b",
            b"/\xff\xfe",
            b"/it's",
            b'/"q"',
            b"/$(x);|&",
            b"/\xe2\x80\xa8",
            b"/a\nb",
            b"--uuid",
        ):
            self.assertEqual(parse(b"git-annex-shell configlist " + quoted(path)), ConfigList(path))


class RefusedTests(SynchronousTestCase):
    def test_everything_else(self) -> None:
        for line, reason in {
            b"": "no command",
            b"   ": "no command",
            b"git-annex-shell": "no command",
            b"git-annex-shell -c ''": "no command",
            b"sh": "sh is not available here",
            b"rm -rf /": "only git and git-annex",
            b"git": "not available",
            b"git gc": "not available",
            b"git-shell": "not available",
            b"true; rm x": "not available",
            b"annexd-shell --user root": "not available",
            b"annexd-shell -c 'annexd-shell --user root'": "not available",
            b"git-annex-shell commit /x": "not available",
            b"git-annex-shell configlist": "needs a directory",
            b"git-annex-shell configlist /x y": "takes no parameters",
            b"git-annex-shell notifychanges /x y": "takes no parameters",
            b"git-annex-shell configlist /x --foo=bar": "no option --foo=bar",
            b"git-annex-shell configlist /x --uuid": "needs an argument",
            b"git-annex-shell p2pstdio /x": "missing UUID parameter",
            b"git-annex-shell p2pstdio /x a b": "missing UUID parameter",
            b"git-annex-shell p2pstdio /x -- a": "missing UUID parameter",
            b"git-upload-pack": "one directory",
            b"git-upload-pack /x /y": "one directory",
            b"git-upload-pack --help": "one directory",
            b"git-receive-pack /x --strict": "one directory",
            b"git-annex-shell 'configlist": "inside a quotation",
            b'git-annex-shell "configlist': "inside a quotation",
            b"git-annex-shell configlist \\": "inside a quotation",
            b"git-annex-shell configlist /\0": "NUL",
            b"git-annex-shell " * 20 + b"configlist /x": "too often",
            b"x" * 70_000: "longer than",
        }.items():
            error = self.assertRaises(Refused, parse, line)
            self.assertIn(reason, str(error))

    def test_sentences_are_safe_to_show(self) -> None:
        error = self.assertRaises(Refused, parse, b"'\x1b[2Jevil\r\n\xff'")
        self.assertTrue(str(error).isprintable(), str(error))
        self.assertLess(len(shown(b"x" * 10_000)), 300)

    @given(st.binary())
    @example(b"git-annex-shell -c git-annex-shell")
    @example(b"git-annex-shell p2pstdio / -- -- --")
    def test_nothing_else_is_raised(self, line: bytes) -> None:
        try:
            parse(line)
        except Refused:
            pass

    @given(
        st.lists(
            st.one_of(
                words,
                st.sampled_from(
                    b"git-annex-shell annexd-shell -c -- --uuid --uuid=x --debug p2pstdio configlist "
                    b"notifychanges inannex git git-upload-pack upload-pack true autoinit=1 /x".split()
                ),
            )
        )
    )
    def test_nothing_else_is_raised_by_near_misses(self, line: list[bytes]) -> None:
        try:
            parse(b" ".join(map(quoted, line)))
        except Refused:
            pass


class SplitTests(SynchronousTestCase):
    @given(st.lists(words))
    def test_quoting_is_undone(self, line: list[bytes]) -> None:
        self.assertEqual(split(b" ".join(map(quoted, line))), line)

    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
    def test_as_shlex_quotes(self, line: list[str]) -> None:
        self.assertEqual(split(shlex.join(line).encode()), [word.encode() for word in line])

    @given(st.text(alphabet="ab '\"\\\t"))
    def test_as_shlex_splits(self, line: str) -> None:
        try:
            expected = [word.encode() for word in shlex.split(line)]
        except ValueError:
            self.assertRaises(Refused, split, line.encode())
        else:
            self.assertEqual(split(line.encode()), expected)

    def test_as_a_shell_does_inside_double_quotes(self) -> None:
        self.assertEqual(split(rb'"a\$b\`c\"d\\e\f"'), [rb'a$b`c"d\e\f'])
        self.assertEqual(split(b'"a\\\nb" c\\\nd'), [b"ab", b"cd"])

    def test_long_lines_take_no_time(self) -> None:
        self.assertEqual(len(split(b"'a' " * 16_000)), 16_000)
        self.assertRaises(Refused, split, b'"' + b"\\a" * 32_000)


class EnvironmentTests(SynchronousTestCase):
    def check(self, line: bytes, **fields: bytes) -> None:
        named = {name.encode(): value for name, value in fields.items()}
        Environment.of({b"home": b"/home/u", **named}).check(parse(line))

    def blocked(self, line: bytes, **fields: bytes) -> str:
        return str(self.assertRaises(Refused, self.check, line, **fields))

    def test_readonly(self) -> None:
        for line in (
            b"configlist /x",
            b"p2pstdio /x c",
            b"notifychanges /x",
            b"inannex /x k",
            b"sendkey /x k",
        ):
            self.check(b"git-annex-shell " + line, readonly=b"1")
        for line in (b"recvkey /x k", b"dropkey /x k", b"gcryptsetup /x k"):
            self.assertEqual(
                self.blocked(b"git-annex-shell " + line, readonly=b"1", appendonly=b"1"),
                "Action blocked by GIT_ANNEX_SHELL_READONLY",
            )

    def test_appendonly(self) -> None:
        self.check(b"git-annex-shell recvkey /x k", appendonly=b"1")
        for line in (b"dropkey /x k", b"gcryptsetup /x k"):
            self.assertEqual(
                self.blocked(b"git-annex-shell " + line, appendonly=b"1"),
                "Action blocked by GIT_ANNEX_SHELL_APPENDONLY",
            )

    def test_git_is_stopped_by_limited_only(self) -> None:
        for line in (b"git-receive-pack /x", b"git-upload-pack /x"):
            self.check(line, readonly=b"1", appendonly=b"1")
            self.assertEqual(self.blocked(line, limited=b"1"), "Action blocked by GIT_ANNEX_SHELL_LIMITED")
        self.check(b"git-annex-shell dropkey /x k", limited=b"1")

    def test_empty_is_unset(self) -> None:
        self.check(b"git-annex-shell dropkey /x k", readonly=b"", appendonly=b"", limited=b"")

    def test_the_opening_command_is_always_harmless(self) -> None:
        self.check(b"true", readonly=b"1", limited=b"1", directory=b"/x")

    def test_directory_by_its_text(self) -> None:
        for allowed, asked in (
            (b"/home/u/x", b"x"),
            (b"x", b"/home/u/x"),
            (b"x", b"~/x/"),
            (b"~/x", b"/~/x"),
            (b"/home/u/x/", b"/home//u/./x"),
            (b"/home/u/x", b"/home/u/y/../x"),
            (b"/srv", b"//srv"),
            (b"", b"/home/u"),
            (b"/home/u", b"~/"),
            (b"/", b"/"),
        ):
            self.check(b"git-annex-shell configlist " + quoted(asked), directory=allowed)
            self.check(b"git-upload-pack " + quoted(asked), directory=allowed)

    def test_another_directory(self) -> None:
        for allowed, asked in (
            (b"/srv/x", b"/srv/x/.git"),
            (b"/srv/x", b"/srv/xy"),
            (b"/srv/x", b"/srv/x/.."),
            (b"/srv/x", b"x"),
            (b"", b"/srv/x"),
            (b"/srv/x", b"~root/x"),
            (b"/home/u/x", b"/home/u"),
        ):
            for verb in (b"git-annex-shell configlist ", b"git-upload-pack ", b"git-annex-shell dropkey "):
                self.assertIn("Only allowed to access", self.blocked(verb + quoted(asked), directory=allowed))
        self.assertEqual(
            self.blocked(b"git-upload-pack /srv/y/", directory=b"/srv/x"),
            "Only allowed to access /srv/x not /srv/y",
        )

    def test_the_path_that_was_compared_is_the_one_that_is_used(self) -> None:
        wanted = parse(b"git-upload-pack x/link/../")
        self.assertEqual(Environment(b"/home/u", directory=b"~/x").path(wanted), b"/home/u/x")
        self.assertEqual(Environment(b"/home/u").path(wanted), b"x/link/../")
