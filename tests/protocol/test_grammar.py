from __future__ import annotations

from typing import get_args

from twisted.trial import unittest

from annexd.protocol import messages as m
from annexd.protocol.grammar import Moment, admits, answers, complaint
from annexd.protocol.keys import Key

K = Key.parse(b"WORM--a")

EVERY: tuple[m.Message, ...] = (
    m.Unknown(b"nonsense"),
    m.Unknown(b""),
    m.Auth(b"u", b"t"),
    m.AuthSuccess(b"u"),
    m.AuthFailure(),
    m.Version(2),
    m.Bypass((b"u",)),
    m.CheckPresent(K),
    m.LockContent(K),
    m.UnlockContent(),
    m.Remove(K),
    m.RemoveBefore(3, K),
    m.GetTimestamp(),
    m.Put(b"", K),
    m.Get(0, b"", K),
    m.Connect(b"git-upload-pack"),
    m.NotifyChange(),
    m.PutFrom(3),
    m.AlreadyHave(),
    m.AlreadyHavePlus((b"u",)),
    m.Data(0),
    m.DataPresent(),
    m.Valid(),
    m.Invalid(),
    m.Success(),
    m.SuccessPlus((b"u",)),
    m.Failure(),
    m.FailurePlus((b"u",)),
    m.Timestamp(3),
    m.ConnectDone(0),
    m.Changed((b"a",)),
    m.Error(b"x"),
)
VERSIONS = range(5)

REQUESTS = {
    "CheckPresent",
    "LockContent",
    "Remove",
    "RemoveBefore",
    "GetTimestamp",
    "Put",
    "Get",
    "Connect",
    "NotifyChange",
    "Version",
    "Bypass",
    "Error",
}
SHORT = b"expected SUCCESS or FAILURE"
LONG = b"expected SUCCESS or SUCCESS-PLUS or FAILURE or FAILURE-PLUS"

# Every message was sent to git-annex at every one of these moments: what it takes, what it says to the rest,
# and to lines that it cannot read.
FACTS: dict[tuple[Moment, range], tuple[set[str], bytes, bytes]] = {
    (Moment.AUTH, range(5)): ({"Auth", "Error"}, b"unexpected command", b"unknown command"),
    (Moment.IDLE, range(5)): (REQUESTS, b"unexpected command", b"unknown command"),
    (Moment.NOTIFIED, range(5)): (REQUESTS, b"unexpected command", b"unknown command"),
    (Moment.PUT_DATA, range(4)): ({"Data", "Error"}, b"expected DATA", b"expected DATA"),
    (Moment.PUT_DATA, range(4, 5)): ({"Data", "DataPresent", "Error"}, b"expected DATA", b"expected DATA"),
    (Moment.PUT_VALIDITY, range(1, 5)): (
        {"Valid", "Invalid"},
        b"expected VALID or INVALID",
        b"expected VALID or INVALID",
    ),
    (Moment.GET_VERDICT, range(2)): ({"Success", "Failure", "Error"}, SHORT, SHORT),
    (Moment.GET_VERDICT, range(2, 5)): (
        {"Success", "SuccessPlus", "Failure", "FailurePlus", "Error"},
        LONG,
        LONG,
    ),
    (Moment.LOCKED, range(5)): ({"UnlockContent"}, b"expected UNLOCKCONTENT", b"expected UNLOCKCONTENT"),
    (Moment.CONNECTED, range(5)): (
        {"Data", "ConnectDone"},
        b"expected DATA or CONNECTDONE",
        b"expected DATA or CONNECTDONE",
    ),
}


class ServersHalf(unittest.TestCase):
    def test_every_message_is_tried(self) -> None:
        self.assertEqual({type(message) for message in EVERY}, set(get_args(m.Message)))

    def test_every_moment_is_in_the_facts(self) -> None:
        covered = {(moment, version) for moment, versions in FACTS for version in versions}
        wanted = {(moment, version) for moment in Moment for version in VERSIONS}
        self.assertEqual(wanted - covered, {(Moment.PUT_VALIDITY, 0)})  # which does not come

    def test_facts(self) -> None:
        for (moment, versions), (admitted, wrong, unreadable) in FACTS.items():
            for version in versions:
                for message in EVERY:
                    case = f"{moment} {version} {message}"
                    good = type(message).__name__ in admitted
                    self.assertEqual(admits(moment, version, message), good, case)
                    text = unreadable if isinstance(message, m.Unknown) else wrong
                    expected = None if good else m.Error(text)
                    self.assertEqual(complaint(moment, version, message), expected, case)

    def test_versions_to_come(self) -> None:
        for moment in Moment:
            for message in EVERY:
                self.assertEqual(admits(moment, 9, message), admits(moment, 4, message))
                self.assertEqual(complaint(moment, 9, message), complaint(moment, 4, message))


RESULT = {"Success", "Failure"}
PLUS = {"SuccessPlus", "FailurePlus"}
NOTHING: set[str] = set()

# What each request may be answered with, in versions 0, 1, 2, 3 and 4.
ANSWERS: dict[type[m.Message], list[set[str]]] = {
    m.Auth: [{"AuthSuccess", "AuthFailure"}] * 5,
    m.Version: [{"Version"}] * 5,
    m.CheckPresent: [RESULT] * 5,
    m.LockContent: [RESULT] * 5,
    m.Remove: [RESULT] * 2 + [RESULT | PLUS] * 3,
    m.RemoveBefore: [NOTHING] * 3 + [RESULT | PLUS] * 2,
    m.GetTimestamp: [NOTHING] * 3 + [{"Timestamp"}] * 2,
    m.Get: [{"Data"}] * 5,
    m.Data: [NOTHING] + [{"Valid", "Invalid"}] * 4,
    m.Put: [{"PutFrom", "AlreadyHave"}] * 2 + [{"PutFrom", "AlreadyHave", "AlreadyHavePlus"}] * 3,
    m.Valid: [RESULT] * 2 + [RESULT | PLUS] * 3,
    m.Invalid: [RESULT] * 2 + [RESULT | PLUS] * 3,
    m.DataPresent: [NOTHING] * 4 + [RESULT | PLUS],
    m.Connect: [{"Data", "ConnectDone"}] * 5,
    m.NotifyChange: [{"Changed"}] * 5,
}


class ClientsHalf(unittest.TestCase):
    def test_answers(self) -> None:
        for kind in get_args(m.Message):
            for version in VERSIONS:
                expected = ANSWERS.get(kind, [NOTHING] * 5)[version]
                found = {answer.__name__ for answer in answers(kind, version)}
                self.assertEqual(found, expected, f"{kind} {version}")
