"""The grammar of preferred content expressions, as git-annex reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.router.expressions import Malformed, is_empty, matches, parse, terms


def _value(text: str) -> bool:
    return matches(parse(text, _truth), lambda truth: truth)


def _truth(word: str) -> bool:
    if word not in ("t", "f"):
        raise Malformed(word)
    return word == "t"


class Values(SynchronousTestCase):
    def _are(self, expected: bool, *texts: str) -> None:
        for text in texts:
            self.assertIs(_value(text), expected, text)

    def test_and_or_and_not(self) -> None:
        self._are(True, "t", "t and t", "f or t", "not f", "not (t and f)", "t not f", "(t)", "((t) or f)")
        self._are(False, "f", "t and f", "f or f", "not t", "not (f or t)", "t f", "t(f)", "t and not t")

    def test_and_and_or_bind_equally_to_the_left(self) -> None:
        self._are(False, "t or t and f", "f or t and f")
        self._are(True, "t and f or t", "f and f or t")

    def test_not_is_for_the_next_thing_alone(self) -> None:
        self._are(True, "not f or t", "not not t", "t not f or f")
        self._are(False, "not t and t", "not not not t", "not f and f")

    def test_a_missing_operand_is_true(self) -> None:
        self._are(True, "", "or", "and", "f or", "t and", "()", "f or or t", "not and f")
        self._are(False, "not", "t not", "f and", "not ()", "f ()", "() f")

    def test_parentheses_need_not_match(self) -> None:
        self._are(True, "(t", "t)", ")t(", "t ) or f")
        self._are(False, "((f", "f))", "t and (f or (f")

    def test_inside_of_parentheses_a_group_goes_on_with_what_was_before(self) -> None:
        self._are(True, "(f (f or t))", "f or (f (f or t))")
        self._are(False, "f (f or t)", "(f and (f or t))")

    def test_white_space(self) -> None:
        self._are(True, " t\tand\nt ", "f\xa0or\u2003t")
        self.assertRaises(Malformed, _value, "t\x1cf")

    def test_unknown_words(self) -> None:
        for text in ("x", "t or x", "AND", "t and(x)"):
            self.assertRaises(Malformed, _value, text)


class Shape(SynchronousTestCase):
    def test_emptiness(self) -> None:
        for text in ("", " ", "()", "and", "((()))", ")"):
            self.assertTrue(is_empty(parse(text, _truth)), text)
        for text in ("t", "or", "not", "(f)", "not ()"):
            self.assertFalse(is_empty(parse(text, _truth)), text)

    def test_what_is_negated(self) -> None:
        tree = parse("a and not (b or not c) or not not d", str)
        self.assertEqual(list(terms(tree)), [("a", False), ("b", True), ("c", False), ("d", False)])

    @given(st.lists(st.sampled_from(("and", "or", "not", "(", ")", "t", "f")), max_size=30))
    def test_whatever_comes_has_a_value(self, words: list[str]) -> None:
        self.assertIn(_value(" ".join(words)), (True, False))
