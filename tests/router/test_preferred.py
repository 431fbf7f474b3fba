"""What repositories want. The words themselves are compared with git-annex's in tests.interop."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol.keys import Key
from annexd.router.knowledge import Knowledge, Trust
from annexd.router.ports import Wish
from annexd.router.preferred import Judge, Question

_A, _B, _C = b"aaaa", b"bbbb", b"cccc"
_KEY = Key.parse(b"SHA256E-s1000--" + b"0" * 64 + b".dat")


def _question(
    *holders: bytes, file: bytes | None = b"x/y.dat", key: Key = _KEY, unused: bool = False
) -> Question:
    return Question(key, file, frozenset(holders), {b"Tag": (b"done", b"12")}, unused)


class WishTests(SynchronousTestCase):
    def _wants(self, expression: bytes, question: Question | None = None, **known: object) -> Wish:
        knowledge = Knowledge(preferred={_A: expression}, **known)  # type: ignore[arg-type]
        return Judge(knowledge, {}).wish(_A, question or _question())

    def test_who_says_nothing_wants_everything(self) -> None:
        for expression in (b"", b"()", b"and"):
            self.assertIs(self._wants(expression), Wish.WANTED)
        self.assertIs(Judge(Knowledge(), {}).wish(_A, _question()), Wish.WANTED)

    def test_words(self) -> None:
        for word in (
            b"include=*.dat",
            b"exclude=*.txt",
            b"largerthan=999",
            b"metadata=tag=D*",
            b"metadata=TAG>9",
        ):
            self.assertIs(self._wants(word), Wish.WANTED, word)
            self.assertIs(self._wants(b"not " + word), Wish.UNWANTED, word)

    def test_without_a_file(self) -> None:
        question = _question(file=None)
        for expression in (b"include=*", b"inpreferreddir", b"unused"):
            self.assertIs(self._wants(expression, question), Wish.UNWANTED, expression)
        self.assertIs(self._wants(b"exclude=*", question), Wish.WANTED)
        self.assertIs(self._wants(b"unused", _question(file=None, unused=True)), Wish.WANTED)
        self.assertIs(self._wants(b"unused", _question(unused=True)), Wish.UNWANTED)
        self.assertIs(self._wants(b"include=*", _question(file=b"")), Wish.UNWANTED)

    def test_who_cannot_be_understood_keeps_what_it_has(self) -> None:
        for expression in (
            b"nonsense",
            b"include=* or copies=x",
            b"mimetype=*",
            b"groupwanted",
            b"standard",
            b"\xff",
        ):
            self.assertIs(self._wants(expression), Wish.UNWANTED, expression)
            self.assertIs(self._wants(expression, _question(_A)), Wish.WANTED, expression)

    def test_deep_nesting_is_no_crash(self) -> None:
        self.assertIs(self._wants(b"(" * 20_000 + b"present"), Wish.UNWANTED)
        self.assertIs(self._wants(b"not " * 20_000 + b"anything"), Wish.UNWANTED)

    def test_long_expressions(self) -> None:
        long = b" or ".join([b"include=*.txt"] * 2_000)
        self.assertIs(self._wants(long), Wish.UNWANTED)
        self.assertIs(self._wants(long + b" or anything"), Wish.WANTED)
        self.assertIs(self._wants(b"(" * 50 + long + b")" * 50), Wish.UNWANTED)

    def test_what_would_undo_itself_is_never_wanted(self) -> None:
        for expression in (b"not present", b"anything or not balanced=g", b"not standard"):
            self.assertIs(self._wants(expression), Wish.UNWANTED, expression)

    def test_a_bad_glob_matches_nothing(self) -> None:
        self.assertIs(self._wants(b"include=[ or anything"), Wish.WANTED)
        self.assertIs(self._wants(b"include=["), Wish.UNWANTED)

    def test_what_is_required_is_wanted(self) -> None:
        required = {_A: b"include=*.dat"}
        self.assertIs(self._wants(b"nothing", required=required), Wish.WANTED)
        self.assertIs(self._wants(b"", required=required), Wish.WANTED)
        self.assertIs(self._wants(b"", _question(file=b"a"), required=required), Wish.UNWANTED)
        self.assertIs(self._wants(b"anything", required={_A: b"nonsense"}), Wish.UNWANTED)

    def test_standard(self) -> None:
        self.assertIs(self._wants(b"standard", groups={_A: frozenset((b"unwanted",))}), Wish.UNWANTED)
        self.assertIs(self._wants(b"standard", groups={_A: frozenset((b"client", b"g"))}), Wish.WANTED)
        self.assertIs(self._wants(b"standard", groups={_A: frozenset((b"client", b"backup"))}), Wish.UNWANTED)

    def test_groupwanted(self) -> None:
        groups = {_A: frozenset((b"g", b"client"))}
        for expression, wish in (
            (b"include=*.dat", Wish.WANTED),
            (b"include=*.txt", Wish.UNWANTED),
            (b"standard", Wish.WANTED),
            (b"groupwanted", Wish.UNWANTED),
            (b"nonsense", Wish.UNWANTED),
        ):
            known = {b"g": expression}
            self.assertIs(self._wants(b"groupwanted", groups=groups, group_preferred=known), wish, expression)
        several = {b"g": b"anything", b"client": b"anything"}
        self.assertIs(self._wants(b"groupwanted", groups=groups, group_preferred=several), Wish.UNWANTED)
        self.assertIs(
            self._wants(b"include=*groupwanted* or anything", groups=groups, group_preferred={b"g": b"?"}),
            Wish.WANTED,
        )

    def test_the_dead_do_not_count(self) -> None:
        question = _question(_B, _C)
        self.assertIs(self._wants(b"copies=2", question), Wish.WANTED)
        self.assertIs(self._wants(b"copies=2", question, trust={_B: Trust.DEAD}), Wish.UNWANTED)

    def test_copies_that_are_lacking(self) -> None:
        for numcopies, override, wish in (
            (3, None, Wish.WANTED),
            (0, None, Wish.UNWANTED),
            (3, 1, Wish.UNWANTED),
        ):
            knowledge = Knowledge(preferred={_A: b"lackingcopies=1"}, numcopies=numcopies)
            self.assertIs(Judge(knowledge, {}, override).wish(_A, _question(_B)), wish)


class Balance(SynchronousTestCase):
    def _judge(self, expression: bytes, sizes: dict[bytes, int], limits: dict[bytes, int]) -> Judge:
        everybody = (_A, _B, _C)
        return Judge(
            Knowledge(
                preferred=dict.fromkeys(everybody, expression),
                groups=dict.fromkeys(everybody, frozenset((b"g",))),
                maxsizes=limits,
            ),
            sizes,
        )

    def _wanting(self, judge: Judge, wish: Wish, *holders: bytes, key: Key = _KEY) -> set[bytes]:
        return {uuid for uuid in (_A, _B, _C) if judge.wish(uuid, _question(*holders, key=key)) is wish}

    def test_one_of_the_group_wants_each_key(self) -> None:
        judge = self._judge(b"balanced=g", {}, {})
        chosen = [
            self._wanting(judge, Wish.WANTED, key=Key.parse(b"SHA256-s1--%064d" % number))
            for number in range(60)
        ]
        self.assertTrue(all(len(who) == 1 for who in chosen))
        for uuid in (_A, _B, _C):
            self.assertGreater(sum(uuid in who for who in chosen), 8)

    def test_what_is_somewhere_is_wanted_there_alone(self) -> None:
        judge = self._judge(b"balanced=g", {}, {})
        self.assertEqual([self._wanting(judge, Wish.WANTED, uuid) for uuid in (_A, _B)], [{_A}, {_B}])

    def test_as_many_as_copies_are_lacking(self) -> None:
        knowledge = Knowledge(
            preferred=dict.fromkeys((_A, _B, _C), b"fullybalanced=g:lackingcopies"),
            groups=dict.fromkeys((_A, _B, _C), frozenset((b"g",))),
            numcopies=2,
        )
        judge = Judge(knowledge, {})
        counts = [len(self._wanting(judge, Wish.WANTED, *others)) for others in ((), (b"x",), (b"x", b"y"))]
        self.assertEqual(counts, [2, 1, 0])

    def test_the_full_ones_say_so(self) -> None:
        sizes = {_A: 9500, _B: 0, _C: 9500}
        judge = self._judge(b"balanced=g:2", sizes, {_A: 10_000, _B: 10_000, _C: 10_000})
        self.assertEqual(self._wanting(judge, Wish.WANTED), {_B})
        self.assertLess(set(), self._wanting(judge, Wish.FULL))

    def test_all_full(self) -> None:
        limits = {_A: 10_000, _B: 10_000, _C: 10_000}
        for expression in (b"balanced=g", b"fullybalanced=g:2", b"sizebalanced=g", b"fullysizebalanced=g:2"):
            judge = self._judge(expression, dict.fromkeys(limits, 9_500), limits)
            self.assertEqual(self._wanting(judge, Wish.FULL), {_A, _B, _C}, expression)

    def test_who_does_not_want_it_anyway_is_not_full(self) -> None:
        judge = self._judge(b"include=*.txt and balanced=g", {_A: 10_000}, {_A: 10_000})
        self.assertEqual(self._wanting(judge, Wish.UNWANTED), {_A, _B, _C})

    def test_the_emptiest_by_share(self) -> None:
        judge = self._judge(b"sizebalanced=g", {_A: 60_000, _B: 25_000}, {_A: 20_000, _B: 50_000})
        self.assertEqual(self._wanting(judge, Wish.WANTED), {_B})
        self.assertEqual(self._wanting(judge, Wish.UNWANTED), {_A, _C})


class Requirement(SynchronousTestCase):
    def test_required(self) -> None:
        for expression, required in (
            (b"", False),
            (b"include=*.dat", True),
            (b"include=*.txt", False),
            (b"not present", False),
            (b"nonsense", True),
            (b"copies=2", False),
        ):
            judge = Judge(Knowledge(required={_A: expression}), {})
            self.assertIs(judge.required(_A, _question(_A)), required, expression)
        self.assertFalse(Judge(Knowledge(preferred={_A: b"anything"}), {}).required(_A, _question(_A)))
        self.assertFalse(Judge(Knowledge(required={_A: b"nonsense"}), {}).required(_A, _question()))


class Problems(SynchronousTestCase):
    def test_what_is_wrong(self) -> None:
        for expression, words in (
            (b"anything", None),
            (b"x", "'x' is not a word"),
            (b"copies=x", "'copies=x' makes no sense"),
            (b"not present", "negates"),
            (b"include=[", "not closed"),
            (b"(" * 20_000 + b"present", "nested"),
        ):
            for known in (Knowledge(preferred={_A: expression}), Knowledge(required={_A: expression})):
                problem = Judge(known, {}).problem(_A)
                if words is None:
                    self.assertIsNone(problem)
                else:
                    self.assertIn(words, str(problem))

    def test_in_what_a_word_stands_for(self) -> None:
        known = Knowledge(
            preferred={_A: b"groupwanted"},
            groups={_A: frozenset((b"g",))},
            group_preferred={b"g": b"exclude=[z-a]"},
        )
        self.assertIn("ends before", str(Judge(known, {}).problem(_A)))


class Speed(SynchronousTestCase):
    def test_many_repositories_are_asked_in_milliseconds(self) -> None:
        uuids = [b"%08d" % number for number in range(500)]
        knowledge = Knowledge(
            preferred=dict.fromkeys(uuids, b"standard and fullybalanced=g:3"),
            groups=dict.fromkeys(uuids, frozenset((b"g", b"client"))),
            maxsizes=dict.fromkeys(uuids[:50], 10**12),
        )
        judge = Judge(knowledge, {})
        begun = time.thread_time()
        wanting = [uuid for uuid in uuids[:50] if judge.wish(uuid, _question()) is Wish.WANTED]
        self.assertLess(time.thread_time() - begun, 0.5)
        self.assertLessEqual(len(wanting), 3)
