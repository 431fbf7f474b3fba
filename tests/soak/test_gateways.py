"""Gateways of git-annex's in a full mesh of four, which take half a minute for an upload; longer quiet."""

from __future__ import annotations

from tests.interop import test_gateways, test_gateways_exchange, test_gateways_failing
from tests.support.several_gateways import ANNEXD, mesh


class TwoOneWay(test_gateways.TwoOneWay):
    with_stock = True


class MeshOfFour(test_gateways.MeshOfFour):
    with_stock = True


class Chain(test_gateways_exchange.Chain):
    quiet_s = 20.0


class MeshOfFourFailing(test_gateways_failing.MeshOfThree):
    """With one more, to which everything has to go on all the time."""

    kinds = (ANNEXD,) * 4
    links = mesh(4)
