"""Globs; what is expected here was asked of git-annex."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.router.globs import BadGlob, compiled


class GlobTests(SynchronousTestCase):
    def _match(self, *pairs: tuple[str, str], files: bool = True) -> None:
        for glob, text in pairs:
            self.assertTrue(compiled(glob, files).matches(text), (glob, text))

    def _differ(self, *pairs: tuple[str, str], files: bool = True) -> None:
        for glob, text in pairs:
            self.assertFalse(compiled(glob, files).matches(text), (glob, text))

    def test_stars_and_question_marks(self) -> None:
        self._match(("*", ""), ("*.dat", "a/b.dat"), ("?.dat", "ä.dat"), ("a?b", "a/b"), ("**", "x"))
        self._differ(("*.dat", "a.dat2"), ("?", ""), ("?", "ab"), ("a.b", "axb"), ("A", "a"))

    def test_slashes(self) -> None:
        self._match(("a/b", "a//b"), ("a//b", "a///b"), ("a\\b", "a\\\\b"))
        self._differ(("a/b", "ab"), ("a//b", "a/b"))

    def test_brackets(self) -> None:
        self._match(
            ("[ab]", "a"), ("[a-c]x", "bx"), ("[!a]", "b"), ("[^a]", "b"), ("[]a]", "]"), ("[[]1", "[1")
        )
        self._match(("[a-]", "-"), ("[-a]", "-"), ("[+--]", ","), ("[ä-ü]", "ö"), ("[a-c-e]", "-"))
        self._differ(("[!a]", "a"), ("[a-c]", "d"), ("[!]a]", "]"), ("[!a]", "\n"), ("[a-c-e]", "d"))

    def test_classes(self) -> None:
        self._match(
            ("[[:space:]]", " "), ("[[:alpha:][:digit:]]*", "7x"), ("[[:upper:]_]", "_"), ("[[=a=]]", "a")
        )
        self._differ(("[[:lower:]]", "A"), ("[[:alpha:]]", "ä"), ("[[:none:]]", "n"), ("[[.a.]]", "a"))

    def test_where_brackets_end_depends_on_who_looks(self) -> None:
        self._match(
            ("[[:lower:]*]", "*"), ("[[:lower:]*]", "."), ("[[:lower:]]", "\\"), ("[]ab].dat", "b.dat")
        )

    def test_bad_ones(self) -> None:
        for glob in ("[", "[a", "[]", "[!]", "[z-a]", "[a--]", "[[:", "[[:alpha:]"):
            self.assertRaises(BadGlob, compiled, glob, True)

    def test_lines_are_matched_one_by_one(self) -> None:
        self._match(("a", "b\na"), ("*", "a\nb"))
        self._differ(("a*b", "a\nb"))

    def test_some_characters_are_assertions_once_they_are_escaped(self) -> None:
        self._differ(("a<b", "a<b"), ("a'b", "a'b"), ("`", "`"))
        self._match(("'", ""), ("*>", "word"))

    def test_values_of_metadata(self) -> None:
        self._match(("done", "DONE"), ("[a-c]x", "BX"), files=False)
        self._differ(("a/b", "a//b"), files=False)

    @given(st.text("ab-[]!^*?/.\\:<'`", max_size=9), st.booleans())
    def test_whatever_comes_is_compiled_or_bad(self, glob: str, files: bool) -> None:
        try:
            compiled(glob, files)
        except BadGlob:
            self.assertIn("[", glob)

    def test_stars_do_not_take_years(self) -> None:
        self._differ(("*a*a*a*a*a*a*b", "a" * 30_000), ("/" * 30 + "b", "/" * 2_000))
        self._match(("*a*a*a*a*a*a*", "a" * 30_000), ("/" * 30, "/" * 2_000))

    @given(st.text("ab-[]!^*?/.\\:<'>+\n", max_size=9), st.text("abB/\\.+*<-\n", max_size=8), st.booleans())
    def test_both_ways_to_match_are_one(self, glob: str, text: str, files: bool) -> None:
        try:
            found = compiled(glob, files)
        except BadGlob:
            return
        self.assertIs(found._automaton.matches(text), found._pattern.search(text) is not None)
