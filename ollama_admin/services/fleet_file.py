"""The fleet as a file: planned, applied, compared, and written. The database is the only state."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from ollama_admin.domain.callers import Caller, Way
from ollama_admin.domain.digests import WHOLE
from ollama_admin.domain.fleet_file import (
    Applied,
    Entry,
    Fleet,
    FleetFile,
    Noun,
    Options,
    Plan,
    Step,
)
from ollama_admin.domain.names import server_key
from ollama_admin.domain.pulls import Pull, PullProgress, PullReport, PullResult
from ollama_admin.errors import AdminError, FileConflict, InvalidInput, StateChanged
from ollama_admin.rules import arguments, fleet_diff, fleet_plan
from ollama_admin.rules.fleet_settings import Tool
from ollama_admin.services import fleet_export
from ollama_admin.services.audit import Audit, Tell
from ollama_admin.services.discover import Discovery
from ollama_admin.services.fleet_apply import Applying
from ollama_admin.services.fleet_reading import DEFAULTS, read_file
from ollama_admin.services.fleet_rows import read_fleet
from ollama_admin.services.pins import known_digest
from ollama_admin.services.pulls import EVERY, Pulls, pulls_of
from ollama_admin.services.targets import Targets
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import keys as store_keys
from ollama_admin.store import pins as store_pins
from ollama_admin.store.database import Database
from ollama_admin.store.locks import lock_writers

Event = Applied | PullProgress | PullResult


class FleetFiles:
    """`data` is the text of a file, in YAML or JSON; what is wrong with it is InvalidFile. What it
    may not have, rows of people or of other owners, is FileConflict.
    """

    def __init__(
        self,
        db: Database,
        auth: UpstreamAuth,
        discovery: Discovery,
        pulls: Pulls,
        audit: Audit,
        caller: Caller,
    ) -> None:
        self._db = db
        self._auth = auth
        self._discovery = discovery
        self._pulls = pulls
        self._audit = audit
        self._caller = caller

    @staticmethod
    async def validate(data: str | bytes) -> FleetFile:
        """Read a file; the database is not asked. Raises InvalidFile with all its mistakes."""
        return await asyncio.to_thread(read_file, data)

    async def plan(self, data: str | bytes, *, prune: bool = False, adopt: bool = False) -> Plan:
        """What is to be done so that the fleet is as the file says; nothing is changed. `prune`
        also removes what this owner's file made and no longer names, `adopt` takes over rows that
        people made.
        """
        file = await self.validate(data)
        options = Options(prune=prune, adopt=adopt)
        _, _, plan = await self._db.read(self._planned, file, options)
        return plan

    async def diff(self, data: str | bytes, *, prune: bool = False, adopt: bool = False) -> str:
        """A plan as a unified diff of the fleet as it is and as the file says; empty for none."""
        file = await self.validate(data)
        options = Options(prune=prune, adopt=adopt)
        whole, fleet, plan = await self._db.read(self._planned, file, options)
        return await asyncio.to_thread(fleet_diff.unified, whole, fleet, plan, DEFAULTS)

    async def apply(
        self,
        data: str | bytes,
        *,
        plan: str | None = None,
        prune: bool = False,
        adopt: bool = False,
        pull: bool = False,
        parallel: int | None = None,
    ) -> Applied:
        """Do what `plan` says: the rows in one transaction, then with `pull` the models. With
        `plan`, a fingerprint, StateChanged is raised unless it is still that plan.
        """
        options = Options(prune=prune, adopt=adopt)
        applied = await self.apply_rows(data, options, plan)
        if pull:
            async with aclosing(self.pulling(applied, parallel=parallel)) as events:
                async for event in events:
                    if isinstance(event, Applied):
                        applied = replace(applied, pulls=event.pulls)
        return applied

    async def apply_rows(
        self, data: str | bytes, options: Options, fingerprint: str | None = None
    ) -> Applied:
        """The rows of `apply`, all or none."""
        arguments.check(digest=fingerprint)
        file = await self.validate(data)

        def work(connection: Any, tell: Tell) -> Applied:
            lock_writers(connection)
            store_keys.hold_all(connection)
            store_pins.hold_all(connection)
            whole, _, plan = self._planned(connection, file, options)
            if fingerprint not in (None, plan.fingerprint):
                raise StateChanged(
                    f"the plan of the file of {plan.owner} is {plan.fingerprint} now, not "
                    f"{fingerprint[:100] if fingerprint else ''}",
                    "look at it again with: ollama-admin plan",
                )
            issued = Applying(connection, self._auth, whole, tell).run(plan)
            return Applied(plan=plan, issued=issued)

        return await self._audit.changes("fleet.apply", f"file of {file.owner}", work)

    async def pulling(
        self, applied: Applied, *, parallel: int | None = None, every: float = EVERY
    ) -> AsyncGenerator[Event, None]:
        """Discover the servers that lack models of the plan, and have them pull what they do lack:
        the events of the pulls, and what became of it all as the last. Closing it stops asking.
        """
        servers = sorted({step.wanted.server for step in applied.plan.pulls})
        if servers:
            await self._discovery.run(Targets(names=servers))
        pulls = await self._db.read(self._wanted_pulls, applied.plan)
        async with aclosing(self._pulls.stream(pulls, parallel=parallel, every=every)) as events:
            async for event in events:
                if isinstance(event, PullReport):
                    yield replace(applied.without_keys(), pulls=event)
                else:
                    yield event

    async def export(self, owner: str | None = None) -> FleetFile:
        """The rows that an owner's file made, or those that people made, as a file, with what its
        servers hold. Raises NotFound for an owner of nothing.
        """
        arguments.check(name=owner)
        note = self._caller.note
        return await self._db.read(fleet_export.file_of, self._auth, owner, note)

    async def export_to(self, tool: Tool | str) -> str:
        """The active servers and their models as the settings of another program."""
        return await self._db.read(fleet_export.settings_of, self._auth, tool, self._caller.note)

    def _planned(
        self, connection: Any, file: FleetFile, options: Options
    ) -> tuple[FleetFile, Fleet, Plan]:
        held_by = {server_key(wanted.server) for wanted in file.models}
        fleet = read_fleet(connection, self._auth, held_by)
        file = replace(file, pins=_whole_digests(connection, file.pins, fleet))
        plan = fleet_plan.plan(file, fleet, options, DEFAULTS)
        if self._caller.way is Way.API:
            _refuse_references(plan.rows)
        return file, fleet, plan

    def _wanted_pulls(self, connection: Any, plan: Plan) -> list[Pull]:
        """The pulls of what is missing still, of the pinned build where the file names none."""
        wanted = [step.wanted for step in plan.pulls]
        held_by = {server_key(each.server) for each in wanted}
        fleet = read_fleet(connection, self._auth, held_by)
        servers: dict[tuple[str, str | None], list[str]] = {}
        for each in wanted:
            if not fleet_plan.is_held(fleet, each):
                servers.setdefault((each.model, each.digest), []).append(each.server)
        return [
            pull
            for (model, digest), names in servers.items()
            for pull in pulls_of(
                connection, model, Targets(names=names), digest, self._caller.rights
            )
        ]


def _whole_digests(connection: Any, pins: Iterable[Entry], fleet: Fleet) -> list[Entry]:
    """Pins with the digests that their beginnings stand for. Raises FileConflict."""
    whole, conflicts = [], []
    for entry in pins:
        digest = entry.values["digest"]
        row = fleet.pins.get(entry.key)
        if row is not None and row.values["digest"].startswith(digest):
            digest = row.values["digest"]
        elif len(digest) < WHOLE:
            try:
                holdings = store_pins.holdings(connection, entry.name)
                digest = known_digest(entry.name, digest, holdings)
            except AdminError as exc:
                conflicts.append(f"line {entry.position.line}: {exc.message}")
        whole.append(replace(entry, values={"digest": digest}))
    if conflicts:
        raise FileConflict.of_lines(conflicts, "all 64 digits will do")
    return whole


def _refuse_references(steps: Iterable[Step]) -> None:
    """A client of the API could have any file of this machine sent to a server of its choice."""
    for step in steps:
        if step.noun is not Noun.SERVER:
            continue
        secrets = [step.changed.get("auth", {}).get("secret", "")]
        secrets += step.changed.get("headers", {}).values()
        if any(secret.startswith(("env:", "file:")) for secret in secrets):
            raise InvalidInput(
                f"server {step.name}: references cannot be set through the API",
                "apply the file on the server's own machine: ollama-admin apply",
            )
