"""What the logs of the git-annex branch say about repositories."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.router.knowledge import (
    LOGS,
    Knowledge,
    Proxied,
    Trust,
    cluster_log_with,
    is_remote_name,
    proxy_log_with,
)

_A = b"aaaaaaaa-0000-4000-8000-000000000001"
_B = b"bbbbbbbb-0000-4000-8000-000000000002"
_C = b"ac111111-2222-8333-8444-555555555555"


def _of(**texts: bytes) -> Knowledge:
    return Knowledge.from_logs(
        {name.replace("_", "-").encode() + b".log": text for name, text in texts.items()}
    )


class OneValueForEachRepository(SynchronousTestCase):
    def test_a_value_may_have_spaces(self) -> None:
        known = _of(uuid=b"%s my old disk timestamp=1287290776.765152s\n%s  timestamp=1s\n" % (_A, _B))
        self.assertEqual(known.descriptions, {_A: b"my old disk", _B: b""})

    def test_the_newest_line_counts(self) -> None:
        lines = [b"%s one timestamp=10.5s" % _A, b"%s two timestamp=9s" % _A, b"%s three timestamp=10s" % _A]
        self.assertEqual(_of(uuid=b"\n".join(lines)).descriptions, {_A: b"one"})

    def test_of_equally_new_lines_the_last_counts(self) -> None:
        lines = b"%s one timestamp=10s\n%s two timestamp=10.0s\n" % (_A, _A)
        self.assertEqual(_of(uuid=lines).descriptions, {_A: b"two"})

    def test_a_line_without_a_timestamp_is_the_oldest(self) -> None:
        self.assertEqual(_of(uuid=b"%s old\n" % _A).descriptions, {_A: b"old"})
        lines = b"%s new timestamp=1s\n%s old\n" % (_A, _A)
        self.assertEqual(_of(uuid=lines).descriptions, {_A: b"new"})

    def test_what_cannot_be_read_is_passed_over(self) -> None:
        lines = b"nonsense\n\n%s x timestamp=soon\n%s \xff\xfe timestamp=3s\r\n" % (_A, _B)
        self.assertEqual(_of(uuid=lines).descriptions, {_B: b"\xff\xfe"})

    def test_groups(self) -> None:
        known = _of(group=b"%s client g timestamp=1s\n%s  timestamp=1s\n" % (_A, _B))
        self.assertEqual(known.groups, {_A: {b"client", b"g"}, _B: frozenset()})

    def test_trust(self) -> None:
        known = _of(trust=b"%s X timestamp=1s\n%s % timestamp=1s\n".replace(b"%s", _A, 1).replace(b"%s", _B))
        self.assertEqual(known.trust, {_A: Trust.DEAD})
        self.assertTrue(known.is_dead(_A))
        self.assertFalse(known.is_dead(_B))

    def test_settings_of_remotes(self) -> None:
        known = _of(remote=b"%s name=a&32;b&38; preferreddir=pub type= odd timestamp=1s\n" % _A)
        self.assertEqual(
            known.remotes, {_A: {b"name": b"a b&", b"preferreddir": b"pub", b"type": b"", b"odd": b""}}
        )

    def test_expressions(self) -> None:
        known = _of(
            preferred_content=b"%s include=*.mp3 and (copies=2) timestamp=1s\n" % _A,
            required_content=b"%s  timestamp=1s\n" % _A,
        )
        self.assertEqual(known.preferred, {_A: b"include=*.mp3 and (copies=2)"})
        self.assertEqual(known.required, {_A: b""})


class OneValueForEachName(SynchronousTestCase):
    def test_expressions_of_groups(self) -> None:
        known = _of(
            group_preferred_content=b"5s g include=*\n5s g exclude=* or x\n4s g no\n7s empty \n8s none\n"
        )
        self.assertEqual(known.group_preferred, {b"g": b"exclude=* or x"})

    def test_sizes(self) -> None:
        known = _of(maxsize=b"1s %s 1000\n1s %s lots\n" % (_A, _B))
        self.assertEqual(known.maxsizes, {_A: 1000})

    def test_configuration(self) -> None:
        known = _of(config=b"1s annex.autocommit false\n2s annex.largefiles include=* and x\n")
        self.assertEqual(
            known.config, {b"annex.autocommit": b"false", b"annex.largefiles": b"include=* and x"}
        )

    def test_proxies_keep_order_and_duplicates(self) -> None:
        line = b"1s %s %s:b %s:G2-b %s:a %s:.bad %s:-bad %s:a/b :x y\n" % (_A, _B, _B, _C, _B, _B, _B)
        self.assertEqual(
            _of(proxy=line).proxies, {_A: (Proxied(_B, b"b"), Proxied(_B, b"G2-b"), Proxied(_C, b"a"))}
        )

    def test_names_of_remotes(self) -> None:
        for good in (b"a", b"G2-g2n1", b"a.b", b"_x", "ä".encode(), b"9"):
            self.assertTrue(is_remote_name(good), good)
        for bad in (b"", b".a", b"-a", b"a/b", b"a:b", b"a b", b"a\xff", b"a\n"):
            self.assertFalse(is_remote_name(bad), bad)


class OneValue(SynchronousTestCase):
    def test_the_greatest_of_the_newest(self) -> None:
        known = _of(numcopies=b"2s 2\n2s 10\n2s x\n1s 11\n", mincopies=b"")
        self.assertEqual((known.numcopies, known.mincopies), (10, None))


class Clusters(SynchronousTestCase):
    def test_of_two_lines_of_a_cluster_the_newest_counts(self) -> None:
        known = _of(cluster=b"3s %s %s\n4s %s %s %s\n9s %s %s\n" % (_C, _A, _C, _B, _A, _A, _B))
        self.assertEqual(known.clusters, {_C: {_A, _B}})

    def test_the_dead_are_no_members(self) -> None:
        known = _of(cluster=b"1s %s %s %s\n" % (_C, _A, _B), trust=b"%s X timestamp=1s\n" % _A)
        self.assertEqual(known.members(_C), {_B})
        self.assertEqual(known.members(_A), frozenset())
        self.assertEqual(known.holders_with_clusters(frozenset((_A,))), {_A})
        self.assertEqual(known.holders_with_clusters(frozenset((_A, _B))), {_A, _B, _C})


class Writing(SynchronousTestCase):
    def test_a_new_entry(self) -> None:
        text = proxy_log_with(b"", _A, [Proxied(_B, b"b"), Proxied(_C, b"c"), Proxied(_B, b"b")], 12.7)
        self.assertEqual(text, b"12s %s %s:c %s:b\n" % (_A, _C, _B))

    def test_it_replaces_older_lines_and_is_newer_than_they(self) -> None:
        text = b"future 1\n5s %s %s\n100s %s %s\n7s x y\n6s x z\n" % (_C, _A, _C, _B)
        written = cluster_log_with(text, _C, [_B, _A], 50.0)
        self.assertEqual(written, b"future 1\n7s x y\n101s %s %s %s\n" % (_C, _A, _B))
        self.assertEqual(_of(cluster=written).clusters, {_C: {_A, _B}})

    def test_nothing_changes_when_it_says_so_already(self) -> None:
        text = b"1s x y\n5s %s %s\n" % (_C, _A)
        self.assertEqual(cluster_log_with(text, _C, [_A], 50.0), text)

    def test_nothing_proxied_any_more(self) -> None:
        text = proxy_log_with(b"1s %s %s:b\n" % (_A, _B), _A, [], 5.0)
        self.assertEqual(text, b"5s %s\n" % _A)
        self.assertEqual(_of(proxy=text).proxies, {_A: ()})


class Robustness(SynchronousTestCase):
    @given(st.lists(st.sampled_from(LOGS)), st.binary())
    def test_any_bytes_can_be_read(self, names: list[bytes], text: bytes) -> None:
        Knowledge.from_logs(dict.fromkeys(names, text))

    @given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(b"abc"), st.integers(0, 9)), max_size=8))
    def test_an_entry_that_is_written_is_read_and_changes_no_other(
        self, lines: list[tuple[int, int, int]]
    ) -> None:
        text = b"".join(b"%ds %c %d\n" % line for line in lines)
        written = proxy_log_with(text, b"b", [Proxied(_B, b"b")], 2.0)
        before, after = _of(config=text).config, _of(config=written).config
        self.assertEqual(after, {**before, b"b": _B + b":b"})

    def test_large_logs_are_read_in_some_milliseconds(self) -> None:
        uuids = [b"%08d-0000-4000-8000-000000000000" % number for number in range(1000)]
        proxied = b" ".join(b"%s:G1-G2-node%d" % (uuids[number % 4], number) for number in range(600))
        texts = {
            b"proxy.log": b"1s %s %s\n" % (_A, proxied),
            b"uuid.log": b"".join(b"%s disk number one timestamp=1795360854s\n" % uuid for uuid in uuids),
            b"group.log": b"".join(b"%s client g timestamp=1795360854s\n" % uuid for uuid in uuids),
            b"trust.log": b"".join(b"%s 1 timestamp=1795360854s\n" % uuid for uuid in uuids),
        }
        self.assertGreater(len(texts[b"proxy.log"]), 29_000)
        begun = time.thread_time()
        Knowledge.from_logs(texts)
        self.assertLess(time.thread_time() - begun, 0.1)
