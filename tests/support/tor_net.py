"""
A Tor network of its own on the loopback interface: one directory authority,
four relays, a client, and whatever tors a test adds.

It takes about 20 seconds to come up, most of them until the authority has made
a consensus.  Every tor ends with the process that runs the tests, whatever
becomes of that.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import Failed, running, stop_all, until
from tests.support.programs import program

_HOST = "127.0.0.1"
_AUTHORITY = "auth"
_RELAYS = ("relay0", "relay1", "relay2", "relay3")
_SECONDS = 180.0
_BOOT_S = 40.0
"""It takes a client 2 to 15 seconds, or much longer, for it waits between its attempts."""

_APART_S = (5400, 4800, 4320, 3600, 2880)
"""
Between later votes, of which tests are to see none: a vote goes by what relays
have moved so far, and when all but one have moved less than a kilobyte a second,
there is no way but through that one, and none for those who have it as guard.
48 times this has to be less than 262,144 seconds, or tor counts the revisions of
an onion's descriptor wrongly, and relays refuse the newer one.
"""

_BOOTS = 6
"""Attempts, each from the beginning."""

_LOG_SHOWN = 4000
"""Characters of its end."""

_INTERVALS_S = (10, 20, 30, 60)
"""Between the first votes: on a slow machine a longer one gives the relays time to be known."""

# TestingTorNetwork alone implies private addresses, no distance between relays, and short delays.
_COMMON = """\
TestingTorNetwork 1
PathsNeededToBuildCircuits 0.67
ShutdownWaitLength 0
GeoIPFile /dev/null
GeoIPv6File /dev/null
AvoidDiskWrites 1
"""
_RELAY = """\
SocksPort 0
Address 127.0.0.1
AssumeReachable 1
ServerDNSDetectHijacking 0
ExitPolicy reject *:*
ExitRelay 0
NumCPUs 1
"""
_VOTES = """\
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo somebody@example.org
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVoteDelay 10
V3AuthDistDelay 10
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
TestingDirAuthVoteExit *
TestingMinFastFlagThreshold 0
MinUptimeHidServDirectoryV2 0 minutes
AuthDirMaxServersPerAddr 0
"""


class TorNetwork:
    """
    ``directory`` needs a short path: there are unix sockets below it.
    ``common`` is what any tor needs in its torrc to be a part of it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.common = ""
        self.socks = directory / "client" / "socks"
        self._tor = program("tor", "tor")
        self._gencert = program("tor-gencert", "tor")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = [free_port() for _ in range(len(_RELAYS) + 2)]

    def up(self) -> None:
        try:
            self._up()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
        for name in list(self._processes):
            self.stop(name)

    # --- without a network ---------------------------------------------

    def freeze(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for name in (_AUTHORITY, *_RELAYS):
            os.kill(self.pid(name), number)

    # --- single tors ---------------------------------------------------

    def start(self, name: str, torrc: str) -> None:
        """One more tor, in ``directory``/``name``, or the same one again."""
        home = self.directory / name
        for path in (home, home / "data"):
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)  # else tor makes no sockets there
        (home / "log").unlink(missing_ok=True)
        (home / "torrc").write_text(
            f"__OwningControllerProcess {os.getpid()}\nDataDirectory {home}/data\n"
            f"Log notice file {home}/log\n{self.common}{torrc}"
        )
        with open(home / "out", "wb") as out:
            self._processes[name] = subprocess.Popen(
                [self._tor, "--defaults-torrc", os.devnull, "-f", home / "torrc"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def runs(self, name: str) -> bool:
        return name in self._processes

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait(10)

    def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def log(self, name: str) -> str:
        texts = (self.directory / name / part for part in ("out", "log"))
        return "".join(path.read_text(errors="replace") for path in texts if path.exists())

    def boot(self, name: str, torrc: str) -> None:
        """Until it is a part of the network; one that has lost its way begins again."""
        for attempt in range(_BOOTS, 0, -1):
            self.start(name, torrc)
            try:
                until(lambda: self._percent(name) == 100, f"{name} is a part of the network", _BOOT_S)
                return
            except Failed as error:
                self.stop(name)
                if attempt == 1:
                    logs = (self.log(said)[-_LOG_SHOWN:] for said in (_AUTHORITY, name))
                    raise Failed("\n".join((str(error), f"{self._relays()} relays", *logs))) from None
                shutil.rmtree(self.directory / name / "data")

    def _percent(self, name: str) -> int:
        process = self._processes[name]
        if process.poll() is not None:
            raise Failed(f"{name} ended with {process.returncode}:\n{self.log(name)[-_LOG_SHOWN:]}")
        found = re.findall(r"Bootstrapped (\d+)%", self.log(name))
        return int(found[-1]) if found else 0

    # --- the network ---------------------------------------------------

    def _up(self) -> None:
        identity = self._make_authority()
        fingerprint = self._make_relay_key(_AUTHORITY)
        for name in _RELAYS:
            self._make_relay_key(name)
        directory_port, authority_port, *relay_ports = self._ports
        self.common = (
            f"{_COMMON}DirAuthority {_AUTHORITY} orport={authority_port} no-v2 "
            f"v3ident={identity} {_HOST}:{directory_port} {fingerprint}\n"
        )
        apart = max(_APART_S, key=lambda seconds: -time.time() % seconds)
        for interval in _INTERVALS_S:
            votes = f"{_VOTES}V3AuthVotingInterval {apart}\nTestingV3AuthInitialVotingInterval {interval}\n"
            # Whoever publishes after the first vote is missing until the next, minutes later.
            _await_interval(interval)
            self._start_relay(
                _AUTHORITY, authority_port, f"DirPort {_HOST}:{directory_port} IPv4Only\n{votes}"
            )
            for name, port in zip(_RELAYS, relay_ports, strict=True):
                self._start_relay(name, port, "")
            if self._has_consensus():
                break
            self._forget((_AUTHORITY, *_RELAYS))
        else:
            raise Failed(f"the authority knows no relays:\n{self.log(_AUTHORITY)[-_LOG_SHOWN:]}")
        # Only now: a client that finds no consensus takes its time to look again.
        self.boot("client", f"SocksPort unix:{self.socks}\n")

    def _start_relay(self, name: str, port: int, more: str) -> None:
        self.start(name, f"{_RELAY}Nickname {name}\nORPort {_HOST}:{port} IPv4Only\n{more}")

    def _make_authority(self) -> str:
        """The fingerprint of its identity."""
        keys = self.directory / _AUTHORITY / "data" / "keys"
        keys.mkdir(mode=0o700, parents=True)
        keys.parent.chmod(0o700)
        certificate = keys / "authority_certificate"
        _run(
            [
                *(self._gencert, "--create-identity-key", "-m", "12", "--passphrase-fd", "0"),
                *("-a", f"{_HOST}:{self._ports[0]}", "-i", keys / "authority_identity_key"),
                *("-s", keys / "authority_signing_key", "-c", certificate),
            ]
        )
        found = re.search(r"^fingerprint ([0-9A-F]{40})$", certificate.read_text(), re.MULTILINE)
        assert found is not None
        return found[1]

    def _make_relay_key(self, name: str) -> str:
        """Its fingerprint."""
        data = self.directory / name / "data"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        said = _run(
            [
                *(self._tor, "-f", os.devnull, "--ignore-missing-torrc", "--quiet"),
                *("--defaults-torrc", os.devnull),
                *("--list-fingerprint", "--Nickname", name, "--ORPort", "1"),
                *("--DirAuthority", f"x {_HOST}:1 {'F' * 40}", "--DataDirectory", data),
            ]
        )
        found = re.search(r"((?:[0-9A-F]{4} ?){10})", said)
        if found is None:
            raise Failed(f"tor told no fingerprint: {said}")
        return found[1].replace(" ", "")

    def _has_consensus(self) -> bool:
        """Whether the one that has been made has all relays, and ways through them."""

        def made() -> bool:
            self._percent(_AUTHORITY)
            return self._relays() > 0

        until(made, "the authority makes a consensus", _SECONDS)
        moved = re.findall(rb"^w Bandwidth=([1-9])", self._consensus(), re.MULTILINE)
        return self._relays() == len(_RELAYS) + 1 and len(moved) not in (1, 2)

    def _relays(self) -> int:
        """How many the consensus has; 0 when there is none."""
        return len(re.findall(rb"^r ", self._consensus(), re.MULTILINE))

    def _consensus(self) -> bytes:
        """Empty as long as there is none."""
        path = self.directory / _AUTHORITY / "data" / "cached-microdesc-consensus"
        said = path.read_bytes() if path.exists() else b""
        return said if b"\ndirectory-signature" in said else b""

    def _forget(self, names: Iterable[str]) -> None:
        """What they have learnt; not who they are."""
        for name in names:
            self.stop(name)
            for path in (self.directory / name / "data").iterdir():
                if path.is_file() and not path.name.startswith(("fingerprint", "lock")):
                    path.unlink()


class Namespace:
    """
    Where 127.0.0.1:9050, which is where git-annex looks for tor, leads to the
    unix socket ``socks``.
    """

    def __init__(self, socks: Path, python: str, checkout: Path) -> None:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._process = subprocess.Popen(
            ["unshare", *user, "--net", python, "-m", "tests.support.socks_relay", socks],
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self.close()
            raise Failed("there is no network namespace to be had")
        same = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.prefix = ("nsenter", f"--target={self._process.pid}", *same, "--net")

    def close(self) -> None:
        """Its end of the pipe is its sign to end, too, whatever becomes of us."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if running(self._process.pid):
            stop_all([self._process.pid])
        self._process.wait(10)


def _await_interval(seconds: int) -> None:
    until(lambda: time.time() % seconds < 0.5, "a voting interval begins", seconds + 10)


def _run(argv: list[str | Path]) -> str:
    """With an empty passphrase, where there is to be one."""
    done = subprocess.run(argv, input="\n", capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failed(f"{argv[0]} ended with {done.returncode}: {done.stderr[-800:]}")
    return done.stdout
