"""What the daemon is asked about gateways and clusters: `annexd cluster ...`, `annexd route ...`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from annexd.app.admin import Fields, Request
from annexd.app.estate import Estate
from annexd.app.logs import clean
from annexd.app.membership_update import update
from annexd.app.proxying import Proxying
from annexd.app.repairs import Order, Repairs
from annexd.app.route_choice import explained
from annexd.app.survey import Survey
from annexd.errors import Refused, Unavailable
from annexd.node import Health
from annexd.repo.local import Repository
from annexd.router.directory import Directory, Visit
from annexd.router.places import Served

_MOST_JOBS = 64


class Steward:
    """``served`` is what the configuration says, for whoever asks about all of it."""

    def __init__(
        self,
        reactor: Any,
        directory: Directory[Repository],
        proxying: Proxying,
        repairs: Repairs,
        served: Callable[[], Iterable[Served]],
    ) -> None:
        self._reactor = reactor
        self._directory = directory
        self._proxying = proxying
        self._repairs = repairs
        self._served = served
        self.requests: Mapping[bytes, Request] = {
            b"cluster status": self._status,
            b"cluster update": self._update,
            b"cluster repair": self._repair,
            b"route explain": self._explain,
        }

    def ailing(self) -> list[dict[str, Any]]:
        """The nodes of all gateways that are not well, as far as somebody has used them."""
        found = []
        for git_dir, estate in sorted(self._proxying.estates.items()):
            for remote, nodes in estate.known_nodes().items():
                condition = nodes[0].condition
                if condition.health is not Health.UP:
                    found.append(
                        {
                            "gateway": clean(git_dir),
                            "name": clean(remote.name),
                            "uuid": clean(remote.uuid),
                            "health": condition.health.value,
                            "since": round(condition.since, 3),
                            "reason": clean(condition.reason),
                        }
                    )
        return found

    # --- requests ----------------------------------------------------------------

    async def _status(self, fields: Fields) -> dict[str, Any]:
        path = fields.get(b"repository")
        gateways = []
        for each in [path] if path else self._all_paths():
            try:
                visit = await self._directory.find(each)
            except (Refused, Unavailable):
                if path:
                    raise
                continue  # it is configured, and not there now
            with visit as repository:
                estate = await self._fresh(repository)
                if estate.configured.is_gateway:
                    survey = Survey(self._reactor, repository, estate, self._proxying.limits)
                    cluster, count_all = _text(fields, b"cluster"), b"count" in fields
                    gateways.append(await survey.document(clean(each), cluster, count_all))
                elif path:
                    raise Refused(f"{os.fsdecode(path)} is no gateway: it proxies nothing")
        return {"gateways": gateways}

    async def _update(self, fields: Fields) -> dict[str, Any]:
        with await self._visit(fields) as repository:
            estate = await self._fresh(repository)
            return await update(repository, estate)

    async def _repair(self, fields: Fields) -> dict[str, Any]:
        """``do`` is ``start``, ``look`` or ``stop``."""
        visit = await self._visit(fields)
        with visit as repository:
            estate = await self._fresh(repository)
            cluster = estate.cluster_called(_text(fields, b"cluster"))
            order = Order(repository.git_dir, cluster, b"dry-run" in fields, b"ask-all" in fields)
            match fields.get(b"do"):
                case b"start":
                    jobs = _jobs(fields) or estate.configured.jobs
                    return await self._repairs.start(fields[b"repository"], order, jobs)
                case b"stop":
                    return await self._repairs.call_off(order)
                case _:
                    return self._repairs.look(order)

    async def _explain(self, fields: Fields) -> dict[str, Any]:
        with await self._visit(fields) as repository:
            estate = await self._fresh(repository)
            cluster = estate.cluster_called(_text(fields, b"cluster"))
            wishes = self._proxying.wishes(estate, repository)
            return await explained(repository, estate, wishes, cluster, fields.get(b"what", b""))

    # --- small parts ---------------------------------------------------------------

    async def _visit(self, fields: Fields) -> Visit[Repository]:
        return await self._directory.find(fields.get(b"repository", b""))

    async def _fresh(self, repository: Repository) -> Estate:
        """Who types a command may just have typed another one that changed something."""
        if not repository.uuid:
            raise Refused("git-annex has not been initialised in the repository")
        known = self._proxying.estates.get(repository.git_dir)
        if known is not None:
            known.forget()
        return await self._proxying.estate(repository)

    def _all_paths(self) -> list[bytes]:
        configured = [one.path for one in self._served() if not one.nested]
        return list(dict.fromkeys([*configured, *sorted(self._directory.opened())]))


def _text(fields: Fields, name: bytes) -> str:
    return os.fsdecode(fields.get(name, b""))


def _jobs(fields: Fields) -> int:
    text = fields.get(b"jobs", b"")
    return min(int(text), _MOST_JOBS) if text.isdigit() else 0
