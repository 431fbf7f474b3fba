"""The loops of tests.interop at full length."""

from __future__ import annotations

import os

from tests.interop import test_cluster_failures_uploads, test_content, test_hammer, test_interruptions
from tests.support.ssh_listener import Listening

_SECONDS = float(os.environ.get("ANNEXD_SOAK_SECONDS", "600"))


class Large(test_content.Large):
    megabytes = 3 << 10
    seconds = 900.0


class Many(test_content.Many):
    keys = 100_000
    seconds = 900.0


class Interruptions(test_interruptions.Interruptions):
    rounds = 20
    megabytes = 1 << 10
    seconds = 900.0


class InterruptionsOfTheListener(Listening, test_interruptions.Interruptions):
    """Clients of annexd's own SSH listener are killed, too, and leave nothing behind."""

    rounds = 20
    megabytes = 100


class InterruptionsOverTls(test_interruptions.OverTls):
    rounds = 20
    megabytes = 1 << 10
    seconds = 900.0


class Hammer(test_hammer.Hammer):
    seconds = _SECONDS


class Killed(test_hammer.Killed):
    kills = 30


class InterruptedCluster(test_cluster_failures_uploads.Interrupted):
    megabytes = 512
    interruptions = 10
    seconds = 900.0


class ClusterAtOnce(test_cluster_failures_uploads.AtOnce):
    keys_each = 500
    seconds = 900.0
    stock_clients = 10
