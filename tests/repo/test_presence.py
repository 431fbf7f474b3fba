from __future__ import annotations

from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from annexd.repo import presence

UUIDS = st.sampled_from([b"u1", b"u2", b"u 3", b""])
CLOCKS = st.tuples(
    st.integers(0, 50), st.sampled_from([b"", b".5", b".50", b".123456789012"]), st.sampled_from([b"s", b""])
).map(lambda parts: b"%d%b%b" % parts)
READABLE = st.tuples(CLOCKS, st.sampled_from([b"0", b"1", b"X"]), UUIDS).map(b" ".join)
UNREADABLE = st.sampled_from([b"x", b"1s 2 u1", b"1s  1 u1", b"s 1 u1", b"1.s 1 u1", b"\xff\0", b" 1s 1 u1"])
LOGS = st.lists(READABLE | UNREADABLE, max_size=8).map(lambda lines: b"".join(line + b"\n" for line in lines))


def states(text: bytes) -> dict[bytes, tuple[int, bytes]]:
    return {uuid: (line.clock, line.status) for uuid, line in presence.newest(text).items()}


class LineTests(TestCase):
    def test_what_git_annex_reads(self) -> None:
        for raw, clock, status, uuid in (
            (b"1795361106s 1 u", 1795361106 * 10**12, b"1", b"u"),
            (b"1795361106 0 u", 1795361106 * 10**12, b"0", b"u"),
            (b"12.5s X u", 12500000000000, b"X", b"u"),
            (b"12.1234567890129s 1 u", 12123456789012, b"1", b"u"),
            (b"-1.5s 1 u", -1500000000000, b"1", b"u"),
            (b"+12s 1 u", 12 * 10**12, b"1", b"u"),
            (b"0012s 1 u", 12 * 10**12, b"1", b"u"),
            (b"12s 1 a b", 12 * 10**12, b"1", b"a b"),
            (b"12s 1 ", 12 * 10**12, b"1", b""),
            (b"12s 1 u\r", 12 * 10**12, b"1", b"u"),
            (b"12s 1 caf\xe9", 12 * 10**12, b"1", b"caf\xe9"),
        ):
            line = presence.read_line(raw)
            assert line is not None, raw
            self.assertEqual((line.clock, line.status, line.uuid), (clock, status, uuid))

    def test_what_git_annex_does_not_read(self) -> None:
        for raw in (
            *(b"", b"junk", b"12.s 1 u", b".5s 1 u", b"1e5s 1 u", b"12ss 1 u", b"12.5.5s 1 u", b"12,5s 1 u"),
            *(b" 12s 1 u", b"12s  1 u", b"12\t1 u", b"12s 1", b"12s 2 u", b"12s 11 u", b"12s x u"),
            b"9" * 5000 + b"s 1 u",
        ):
            self.assertIsNone(presence.read_line(raw), raw)


class ReadingTests(TestCase):
    def test_the_newest_line_counts(self) -> None:
        log = b"3s 0 a\n2s 1 a\n2s 1 b\n2.5s 0 b\n1s 1 c\n9s X d\n"
        self.assertEqual(presence.holders(log), {b"c"})

    def test_of_equally_new_lines_the_first_counts(self) -> None:
        self.assertEqual(presence.holders(b"2.50s 1 a\n2.5s 0 a\n"), {b"a"})
        self.assertEqual(presence.holders(b"2s 0 a\n", b"2s 1 a\n"), frozenset())

    def test_a_line_that_was_cut_off(self) -> None:
        self.assertEqual(presence.complete(b"1s 1 a\n2s 0"), b"1s 1 a\n")
        self.assertEqual(presence.complete(b"2s 0"), b"")


class ChangeTests(TestCase):
    def changed(self, log: bytes, present: bool, now: float = 100.9, uuid: bytes = b"a") -> bytes | None:
        line = presence.change(log, uuid, present, now)
        return None if line is None else presence.apply(line, log)

    def test_the_first_line(self) -> None:
        self.assertEqual(self.changed(b"", True), b"100s 1 a\n")
        self.assertEqual(self.changed(b"", False), b"100s 0 a\n")

    def test_nothing_changes(self) -> None:
        self.assertIsNone(self.changed(b"1s 1 a\n", True))
        self.assertIsNone(self.changed(b"500s 0 a\n", False))

    def test_the_dead_come_back(self) -> None:
        self.assertEqual(self.changed(b"1s X a\n", True), b"100s 1 a\n")
        self.assertEqual(self.changed(b"1s X a\n", False), b"100s 0 a\n")

    def test_is_newer_than_what_it_replaces(self) -> None:
        self.assertEqual(self.changed(b"100s 1 a\n", False), b"101s 0 a\n")
        self.assertEqual(self.changed(b"200.5s 1 a\n", False), b"201.5s 0 a\n")

    def test_clocks_of_others_do_not_matter(self) -> None:
        self.assertEqual(self.changed(b"900s 1 b\n", True), b"900s 1 b\n100s 1 a\n")

    def test_keeps_the_lines_of_others_as_they_are(self) -> None:
        log = b"1.50 1 b\njunk\n0007s 0 c\r\n1s 1 a\n"
        self.assertEqual(self.changed(log, False), b"1.50 1 b\njunk\n0007s 0 c\r\n100s 0 a\n")

    def test_drops_lines_that_no_longer_count(self) -> None:
        self.assertEqual(self.changed(b"1s 1 b\n2s 0 b\n1s 1 a\n2s 0 a\n", True), b"2s 0 b\n100s 1 a\n")

    @given(LOGS, UUIDS, st.booleans(), st.floats(0, 100))
    def test_afterwards_the_status_is_as_wanted_and_nothing_else_changed(
        self, log: bytes, uuid: bytes, present: bool, now: float
    ) -> None:
        line = presence.change(log, uuid, present, now)
        after = log if line is None else presence.apply(line, log)
        self.assertEqual(uuid in presence.holders(after), present)
        before, changed = states(log), states(after)
        if line is not None:
            self.assertGreater(line.clock, before.get(uuid, (-1, b""))[0])
        del changed[uuid]
        before.pop(uuid, None)
        self.assertEqual(before, changed)
        self.assertIsNone(presence.change(after, uuid, present, now))

    @given(st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=20), st.randoms())
    def test_the_last_change_wins_whatever_the_order_of_lines(
        self, history: list[tuple[bool, float]], random: object
    ) -> None:
        log, lines = b"", []
        for present, now in history:
            line = presence.change(log, b"a", present, now)
            if line is not None:
                log = presence.apply(line, log)
                lines.append(line.raw + b"\n")
        random.shuffle(lines)  # type: ignore[attr-defined]
        self.assertEqual(states(presence.merge(*lines)), states(log))


class MergeTests(TestCase):
    @given(LOGS, LOGS)
    def test_the_newest_state_wins_from_either_side(self, one: bytes, other: bytes) -> None:
        merged, reverse = states(presence.merge(one, other)), states(presence.merge(other, one))
        self.assertEqual(
            {uuid: clock for uuid, (clock, _) in merged.items()},
            {uuid: clock for uuid, (clock, _) in reverse.items()},
        )
        mine, theirs = states(one), states(other)
        for uuid, state in merged.items():
            candidates = [side[uuid] for side in (mine, theirs) if uuid in side]
            newest = max(clock for clock, _ in candidates)
            self.assertEqual(state, next(each for each in candidates if each[0] == newest))

    @given(LOGS, LOGS)
    def test_again_changes_nothing(self, one: bytes, other: bytes) -> None:
        merged = presence.merge(one, other)
        self.assertEqual(presence.merge(merged), merged)
        self.assertEqual(presence.merge(merged, one, other), merged)

    @given(LOGS, LOGS, LOGS)
    def test_grouping_does_not_matter(self, one: bytes, two: bytes, three: bytes) -> None:
        left = presence.merge(presence.merge(one, two), three)
        right = presence.merge(one, presence.merge(two, three))
        self.assertEqual(states(left), states(right))

    @given(LOGS, LOGS)
    def test_lines_are_kept_as_they_are_and_unreadable_ones_all(self, one: bytes, other: bytes) -> None:
        merged = presence.merge(one, other).splitlines(keepends=True)
        given_lines = [line + b"\n" for line in (one + other).split(b"\n") if line]
        self.assertLessEqual(set(merged), set(given_lines))
        unreadable = {line for line in given_lines if presence.read_line(line[:-1]) is None}
        self.assertLessEqual(unreadable, set(merged))

    @given(LOGS, LOGS)
    def test_a_union_says_the_same_to_whoever_reads_it(self, one: bytes, other: bytes) -> None:
        self.assertEqual(states(presence.union(one, other)), states(presence.merge(one, other)))
