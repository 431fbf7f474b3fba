"""
`annexd pair`: an invitation through a magic-wormhole code.

The other side gets it as a text, with ``wormhole receive``.  `git annex p2p
--pair` is another conversation: there both sides send files with halves of a
token, and both must have a listener.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as Late
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from annexd.app.granting import found, note
from annexd.app.inviting import addresses, invited
from annexd.errors import AnnexdError, Refused, Unavailable

RELAY_VARIABLE = "WORMHOLE_RELAY_URL"
_RELAY = "ws://relay.magic-wormhole.io:4000/v1"
_APPLICATION = "lothar.com/wormhole/text-or-file-xfer"
# All three are those of the `wormhole` program.

_ANSWER_S = 60.0
_CLOSE_S = 5.0


def pair(options: argparse.Namespace) -> int:
    """Until the other side has the invitation; without that nothing is left of it."""
    try:
        import wormhole
    except ImportError:
        raise Unavailable(
            "`annexd pair` needs the Python package magic-wormhole: pip install 'annexd[pair]'"
        ) from None
    from twisted.internet import reactor as installed

    reactor = cast(Any, installed)
    installation = found(options)
    places = addresses(installation, options)
    name = installation.place(options.repo[0]).name
    relay = options.relay_url or os.environ.get(RELAY_VARIABLE) or _RELAY
    made: list[str] = []

    def invitation() -> str:
        made.append(invited(installation, options, places))
        return made[0]

    async def work() -> None:
        hole = wormhole.create(_APPLICATION, relay, reactor)
        await deliver(reactor, hole, invitation, options.wait, _show)

    try:
        _run(reactor, work)
    except AnnexdError:
        if made:
            revoked = installation.tokens.revoke(options.name, [name], time.time())
            note(installation.tell_of_tokens("token-revoked", revoked))
        raise
    print("annexd: the other side has the invitation", file=sys.stderr)
    return 0


async def deliver(
    clock: IReactorTime,
    hole: Any,
    invitation: Callable[[], str],
    wait_s: float,
    show: Callable[[str], None],
) -> None:
    """
    Through ``hole``, a wormhole that is closed at the end.  The code goes to
    ``show``; the invitation is made when somebody has typed it.  Raises
    `Refused` and `Unavailable`.
    """
    from wormhole.errors import WormholeError, WrongPasswordError

    try:
        hole.allocate_code()
        show(await hole.get_code().addTimeout(wait_s, clock))
        await hole.get_verifier().addTimeout(wait_s, clock)
        hole.send_message(_encoded(invitation()))
        await _accepted(hole.get_message, clock)
    except Late:
        raise Unavailable(f"nobody took the invitation within {wait_s:g} seconds") from None
    except WrongPasswordError:
        raise Refused(
            "somebody typed another code; nobody got anything, and this code is of no use any more"
        ) from None
    except WormholeError as error:
        raise Unavailable(f"magic-wormhole: {str(error) or type(error).__doc__}") from None
    finally:
        await _closed(hole, clock)


async def _accepted(get_message: Callable[[], Deferred[bytes]], clock: IReactorTime) -> None:
    """What `wormhole receive` says when it has shown the text."""
    while True:
        answer = _decoded(await get_message().addTimeout(_ANSWER_S, clock))
        if answer.get("answer", {}).get("message_ack") == "ok":
            return
        if "error" in answer:
            raise Refused(f"the other side did not take it: {answer['error']}")


async def _closed(hole: Any, clock: IReactorTime) -> None:
    try:
        await hole.close().addTimeout(_CLOSE_S, clock)
    except CancelledError:
        raise
    except Exception:
        pass  # it has been said what went wrong, and nothing is left to go wrong otherwise


def _encoded(invitation: str) -> bytes:
    return json.dumps({"offer": {"message": invitation}}).encode()


def _decoded(message: bytes) -> dict[str, Any]:
    try:
        document = json.loads(message)
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"error": "it speaks of something else"}


def _show(code: str) -> None:
    print(f"annexd: on the other computer: wormhole receive {code}", file=sys.stderr, flush=True)


def _run(reactor: Any, work: Callable[[], Awaitable[None]]) -> None:
    """Turn the reactor until ``work`` is done, or somebody interrupts it."""
    outcome: list[object] = []

    def begin() -> None:
        working: Deferred[None] = Deferred.fromCoroutine(work())  # type: ignore[arg-type]
        working.addBoth(outcome.append)
        working.addBoth(lambda _: reactor.stop() if reactor.running else None)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not outcome:
        raise Unavailable("interrupted before anybody took the invitation")
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
