"""`annexd invite --tor-ssh`: what somebody's ssh has to know to come by the onion."""

from __future__ import annotations

import argparse
import base64
import os
import sys
import time

from annexd.app.authorized_keys import checked_user, parse_line
from annexd.app.config import Config
from annexd.app.granting import found
from annexd.app.listen import Ssh
from annexd.app.onion_places import hostname_of
from annexd.app.ssh_users import is_login
from annexd.errors import ConfigError, Refused

_SOCKS = "127.0.0.1:9050"
"""Where the other side's tor is, unless somebody has moved it."""

_NAME_CHARACTERS = 8
_VARIABLES = {"read-only": "GIT_ANNEX_SHELL_READONLY=1 ", "append-only": "GIT_ANNEX_SHELL_APPENDONLY=1 "}


def invite_ssh(options: argparse.Namespace) -> int:
    """Raises `Refused` and `ConfigError`."""
    installation = found(options)
    config = installation.config
    place = installation.place(options.repo[0])
    ssh = config.listen.ssh
    tor = next((onion for onion in config.listen.onions if onion.ssh), None)
    if tor is None or ssh is None:
        raise ConfigError("there is no [listen.tor] with ssh = true in the configuration")
    _check(options, ssh)
    hostname = hostname_of(tor, installation.state)
    print(stanza(hostname, options.name, host_keys(config, installation.state), place.name), end="")
    _admit(options, ssh)
    return 0


def _check(options: argparse.Namespace, ssh: Ssh) -> None:
    if options.node is not None or options.all_nodes or options.script:
        raise Refused(
            "--tor-ssh needs no --node, --all-nodes or --script: git-annex sees by itself what is there"
        )
    try:
        checked_user(options.name)
    except ValueError as error:
        raise Refused(str(error)) from None
    if ssh.users is not None and not is_login(options.name):
        raise Refused(f"{options.name} cannot be the name of a file in {ssh.users}")


def host_keys(config: Config, state: str) -> list[str]:
    """The public ones, as in known_hosts.  Raises `ConfigError`."""
    from annexd.app.ssh_listener import host_keys_of

    assert config.listen.ssh is not None
    keys = host_keys_of(config.listen.ssh, state)
    return [key.public().toString("openssh").decode() for key in keys]  # type: ignore[no-untyped-call]


def stanza(hostname: str, login: str, keys: list[str], path: bytes) -> str:
    """For ``~/.ssh/config`` and ``~/.ssh/known_hosts``, with an empty line between."""
    name = f"annexd-{hostname[:_NAME_CHARACTERS]}"
    known = "".join(f"{hostname} {key}\n" for key in keys)
    return f"""\
# Into ~/.ssh/config (nc is the one of the package netcat-openbsd):
Host {name}
    HostName {hostname}
    User {login}
    ProxyCommand nc -X 5 -x {_SOCKS} %h %p

# Into ~/.ssh/known_hosts:
{known}
# Then: git clone {name}:{os.fsdecode(path)}
"""


# --- the key -----------------------------------------------------------------------


def _admit(options: argparse.Namespace, ssh: Ssh) -> None:
    """Let in whoever has the key, if one is given."""
    file = ssh.authorized_keys or os.path.join(ssh.users or "", f"{options.name}.pub")
    if options.key is None:
        note = f"{options.name} comes in with a key that is in {file}; --key FILE puts it there"
        print(f"annexd: {note}", file=sys.stderr)
        return
    key = _read_key(options.key)
    line = key_line(key, options.name, options.mode, options.expires)
    if _is_there(file, key):
        raise Refused(f"the key is in {file} already, which stays as it is")
    try:
        _append(file, line)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    print(f"annexd: {options.name} may {options.mode.replace('-', ' ')} now, by {file}", file=sys.stderr)


def _read_key(path: str) -> bytes:
    """Its type and the key itself, as written."""
    try:
        with open(path, "rb") as file:
            words = file.read(64 * 1024).split(None, 2)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    key = b" ".join(words[:2])
    try:
        parse_line(key)
    except ValueError as error:
        raise Refused(f"{path}: {error}") from None
    return key


def key_line(key: bytes, user: str, mode: str, expires: float | None, now: float | None = None) -> bytes:
    """For a file of keys; ``expires`` is in so many seconds."""
    shell = f"{_VARIABLES.get(mode, '')}annexd-shell --user {user}"
    options = f'restrict,command="{shell}"'
    if expires is not None:
        end = time.gmtime((time.time() if now is None else now) + expires)
        options += f',expiry-time="{time.strftime("%Y%m%d%H%M%S", end)}Z"'
    line = options.encode() + b" " + key + b"\n"
    try:
        parse_line(line.strip())
    except ValueError as error:
        raise Refused(str(error)) from None
    return line


def _is_there(file: str, key: bytes) -> bool:
    wanted = base64.b64decode(key.split()[1])
    try:
        with open(file, "rb") as known:
            return any(_has(line.strip(), wanted) for line in known)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _has(line: bytes, key: bytes) -> bool:
    try:
        return bool(line) and parse_line(line).key == key
    except ValueError:
        return False


def _append(file: str, line: bytes) -> None:
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(fd).st_size
        broken = size and os.pread(fd, 1, size - 1) != b"\n"
        os.write(fd, b"\n" * bool(broken) + line)
    finally:
        os.close(fd)
