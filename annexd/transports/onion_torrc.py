"""What a tor that annexd starts reads: its torrc, and who may come."""

from __future__ import annotations

import os
from dataclasses import dataclass

from annexd.errors import ConfigError

_OURS = "annexd-"


@dataclass(frozen=True, slots=True)
class OwnService:
    """
    ``directory`` is the HiddenServiceDir, ``tor`` where that tor lives;
    ``include`` is a file with more lines, ``clients`` are public x25519 keys in
    base32, ``more`` are further ports with their sockets.
    """

    directory: str
    tor: str
    target: str
    port: int
    include: str | None = None
    clients: tuple[str, ...] = ()
    proof_of_work: bool = False
    more: tuple[tuple[int, str], ...] = ()

    def torrc(self) -> str:
        lines = []
        if self.include is not None:
            # First: what follows a HiddenServiceDir is about that.
            lines.append(f"%include {self.include}")
        lines += [
            f"DataDirectory {self.tor}/data",
            f"ControlSocket {self.tor}/control",
            "CookieAuthentication 1",
            f"CookieAuthFile {self.tor}/cookie",
            f"SocksPort unix:{self.tor}/socks",
            "Log notice stdout",
            f"HiddenServiceDir {self.directory}",
            *(
                f"HiddenServicePort {port} unix:{target}"
                for port, target in ((self.port, self.target), *self.more)
            ),
            "HiddenServiceExportCircuitID haproxy",
        ]
        if self.proof_of_work:
            lines.append("HiddenServicePoWDefensesEnabled 1")
        return "".join(f"{line}\n" for line in lines)

    def authorize(self) -> None:
        """Where there is any file in that directory, tor lets nobody else in.  Raises `ConfigError`."""
        place = os.path.join(self.directory, "authorized_clients")
        try:
            os.makedirs(place, mode=0o700, exist_ok=True)
            for name in os.listdir(place):
                if name.startswith(_OURS):
                    os.unlink(os.path.join(place, name))
            for number, key in enumerate(self.clients):
                path = os.path.join(place, f"{_OURS}{number}.auth")
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                    file.write(f"descriptor:x25519:{key}\n")
        except OSError as error:
            raise ConfigError(f"{error.filename or place}: {error.strerror}") from None
