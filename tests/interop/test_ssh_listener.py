"""annexd's own SSH listener, with the real OpenSSH and git-annex."""

from __future__ import annotations

from tests.interop import test_clients, test_interruptions, test_testremote
from tests.support.ssh_listener import Listening


class EveryDay(Listening, test_clients.Newest):
    pass


class EveryDayLongAgo(Listening, test_clients.Oldest):
    pass


class TestRemote(Listening, test_testremote.TestRemote):
    pass


class Interruptions(Listening, test_interruptions.Interruptions):
    """Both directions, and nothing is left of clients that were killed."""

    rounds = 2
    megabytes = 100
