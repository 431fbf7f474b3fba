"""`twistd annexd`: the command line for twistd, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
from typing import IO, Any, NoReturn, cast

from twisted.application.service import IService
from twisted.python import usage
from twisted.python.logfile import LogFile

from annexd.app.assemble import gateway
from annexd.app.plan import plan
from annexd.errors import ConfigError


class Options(usage.Options):
    synopsis = "[options] [REPO...]"
    longdesc = "Serve git-annex repositories to git-annex clients. Each REPO is served beside what FILE says."
    optParameters = [
        ["config", "c", None, "An annexd.toml"],
        ["socket", "s", None, "The unix socket that annexd-shell talks to"],
        ["log-format", "f", None, "human or json, instead of the configuration's"],
    ]

    def parseArgs(self, *repositories: str) -> None:
        self["repositories"] = repositories

    def postOptions(self) -> None:
        if self["log-format"] not in (None, "human", "json"):
            raise usage.UsageError("--log-format is human or json")


def makeService(options: Options) -> IService:
    """Ends twistd with a sentence where the configuration is wrong."""
    from twisted.internet import reactor

    try:
        wanted = plan(options["config"], options["socket"], options["log-format"], options["repositories"])
        service = gateway(reactor, wanted, os.environ, _log_file(reactor, options.parent))
    except ConfigError as error:
        _end(error)
    if options.parent is not None and options.parent.get("nodaemon"):
        # Behind a terminal twistd itself says it, to whoever started it.
        service.when_impossible = _end
    return cast(IService, service)


def _end(error: ConfigError) -> NoReturn:
    raise SystemExit("\n".join(f"annexd: {line}" for line in str(error).split("\n"))) from None


def _log_file(reactor: Any, twistd: Any) -> IO[str] | None:
    """
    Where twistd's own options want the log; `None` leaves it to twistd.  As
    with twistd's own log, SIGUSR1 begins another file.
    """
    if twistd is None or twistd.get("syslog") or twistd.get("logger"):
        return None
    name = twistd.get("logfile")
    if name == "-" or (twistd.get("nodaemon") and not name):
        return sys.stderr
    path = os.path.abspath(os.path.join(twistd.get("rundir") or ".", name or "twistd.log"))
    file = LogFile.fromFullPath(path)  # type: ignore[no-untyped-call]
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return cast(IO[str], file)
