"""A mailbox server for magic-wormhole on loopback; prints its URL.  Run as a program."""

from __future__ import annotations

import sys

from twisted.internet import reactor  # noqa: TID253
from wormhole_mailbox_server.database import create_or_upgrade_channel_db, create_or_upgrade_usage_db
from wormhole_mailbox_server.server import make_server
from wormhole_mailbox_server.web import make_web_server


def main() -> None:
    usage = create_or_upgrade_usage_db(":memory:")
    server = make_server(create_or_upgrade_channel_db(":memory:"), usage_db=usage)
    port = reactor.listenTCP(0, make_web_server(server, log_requests=False), interface="127.0.0.1")
    print(f"ws://127.0.0.1:{port.getHost().port}/v1", flush=True)
    reactor.run()


if __name__ == "__main__":
    sys.exit(main())
