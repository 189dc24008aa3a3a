"""Discovery: reads what servers hold and makes the model rows say so."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ollama_admin.domain.models import BuildDetails, DiscoverResult, ListedModel, OffPin
from ollama_admin.domain.names import model_key
from ollama_admin.domain.servers import CheckResult, Server
from ollama_admin.errors import AdminError, Conflict, InvalidInput, ServerUnreachable
from ollama_admin.rules.versions import version_key
from ollama_admin.services.servers import Connect, status_after, targets, version_of
from ollama_admin.services.tasks import Batches, WorkLimit, together
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import listings as store
from ollama_admin.store import pins as store_pins
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database

PART = 40  # digests that one connection is enough for
PARTS = 4

Listings = Batches[store.Listing, store.ListingChanges | None]


class Discovery:
    """One run over a set of servers. Each server's rows are stored as soon as it has answered."""

    def __init__(self, db: Database, connect: Connect, auth: UpstreamAuth) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth

    async def run(
        self,
        servers: Sequence[int | str] = (),
        *,
        all: bool = False,
        timeout: float | None = None,
        concurrency: int | None = None,
        prune: bool = False,
        on_start: Callable[[int], None] = lambda _: None,
        on_result: Callable[[DiscoverResult], None] = lambda _: None,
    ) -> list[DiscoverResult]:
        """Ask the servers (default: the active ones). `on_result` hears of each when stored.

        `timeout` is seconds for each call. `concurrency` is how many servers are asked at once;
        None leaves it to what the fleet makes useful. A server that fails keeps its rows, and costs
        the others nothing.
        """
        if concurrency is not None and concurrency < 1:
            raise InvalidInput("concurrency is below 1")
        if timeout is not None and not timeout > 0:
            raise InvalidInput("the timeout is not above 0 seconds")
        chosen, pinned = await self._db.read(_chosen, servers, everyone=all)
        on_start(len(chosen))
        limit, builds = WorkLimit(concurrency), _Builds(pinned)
        rows: Listings = Batches(
            lambda listings: self._db.write(store.store_listings, listings, prune=prune)
        )

        async def one(server: Server) -> DiscoverResult:
            async with limit.take():
                result = await self._discover(server, timeout, builds, rows)
            on_result(result)
            return result

        results = await together(one(server) for server in chosen)
        await self._learn(builds, timeout, limit)
        return results

    async def _discover(
        self, server: Server, timeout: float | None, builds: "_Builds", rows: Listings
    ) -> DiscoverResult:
        try:
            version, listed = await self._read(server, timeout)
        except AdminError as exc:
            failure = CheckResult(
                server=server.ref, status=status_after(exc), version=None, ms=0, error=exc
            )
            await self._db.write(store_servers.record_checks, [failure])
            return DiscoverResult(server=server.ref, error=exc)
        changes = await rows.add(store.Listing(server=server.ref, version=version, models=listed))
        if changes is None:
            gone = Conflict(
                f"server {server.name} was removed or moved to another URL meanwhile",
                "discover again",
            )
            return DiscoverResult(server=server.ref, error=gone)
        builds.listed(server, version, listed, changes.without_details)
        return DiscoverResult(
            server=server.ref,
            added=changes.added,
            changed=changes.changed,
            unchanged=changes.unchanged,
            vanished=changes.vanished,
            pruned=changes.pruned,
            off_pin=builds.off_pin(version, listed),
        )

    async def _read(
        self, server: Server, timeout: float | None
    ) -> tuple[str | None, list[ListedModel]]:
        endpoint = self._connect(self._auth.target(server), timeout)
        version = await version_of(endpoint, server)
        listed = await endpoint.models(is_ollama=version is not None)
        if not listed:  # one empty answer is not enough to call everything gone
            listed = await endpoint.models(is_ollama=version is not None)
        return version, listed

    async def _learn(self, builds: "_Builds", timeout: float | None, limit: WorkLimit) -> None:
        """Ask `/api/show` once for every digest whose facts no row knows."""

        async def ask(
            share: Mapping[str, Sequence[_Holder]],
        ) -> list[tuple[str, BuildDetails | None]]:
            async with limit.take():
                return [
                    (digest, await self._facts(holders, builds, timeout))
                    for digest, holders in share.items()
                ]

        answers = await together(map(ask, builds.shared_out()))
        known = {
            digest: facts for several in answers for digest, facts in several if facts is not None
        }
        if known:
            await self._db.write(store.store_details, known)

    async def _facts(
        self, holders: Sequence["_Holder"], builds: "_Builds", timeout: float | None
    ) -> BuildDetails | None:
        """The facts as the newest server tells them; None leaves them unknown until the next
        discovery.
        """
        for _, server, name in holders:
            if server.id in builds.failed:
                continue
            try:
                return await self._connect(self._auth.target(server), timeout).show(name)
            except ServerUnreachable:
                builds.failed.add(server.id)
            except AdminError:
                continue
        return None


def _chosen(
    connection: Any, servers: Sequence[int | str], *, everyone: bool
) -> tuple[Sequence[Server], dict[str, str]]:
    """The servers of a run, and the pinned digests by key."""
    return targets(connection, servers, everyone=everyone), store_pins.digests(connection)


class _Holder(NamedTuple):
    """A server that holds a digest under some name; `newness` is the key of its version."""

    newness: tuple[int, int, int]
    server: Server
    name: str


class _Builds:
    """Which servers of this run hold which digest; `failed` are not asked again in it."""

    def __init__(self, pinned: Mapping[str, str]) -> None:
        self._pinned = pinned
        self.holders: dict[str, list[_Holder]] = defaultdict(list)
        self.failed: set[int] = set()
        self._without_facts: set[str] = set()

    def listed(
        self,
        server: Server,
        version: str | None,
        models: list[ListedModel],
        without_details: Collection[str],
    ) -> None:
        self._without_facts |= set(without_details)
        newness = version_key(version) if version else None
        for model in models:
            if model.digest and not model.is_remote and newness:
                self.holders[model.digest].append(_Holder(newness, server, model.name))

    def off_pin(self, version: str | None, models: list[ListedModel]) -> tuple[OffPin, ...]:
        """The models of an Ollama server that are another build than the one their name is pinned
        to.
        """
        found = []
        for model in (
            sorted(models, key=lambda model: model.name) if version and self._pinned else ()
        ):
            pinned = self._pinned.get(model_key(model.name))
            if pinned and model.digest and model.digest != pinned:
                found.append(OffPin(name=model.name, digest=model.digest, pinned=pinned))
        return tuple(found)

    def shared_out(self) -> list[dict[str, list["_Holder"]]]:
        """For each server, the digests whose facts it is asked for, one after the other over the
        connection it has; a long share comes in parts. With each digest its holders, newest first;
        of equals, who has the least to tell.
        """
        shares: dict[int, dict[str, list[_Holder]]] = defaultdict(dict)
        for digest in sorted(self._without_facts & self.holders.keys()):
            # of equals the one that listed last comes first, whose connection is the most likely to
            # be open still
            newest = sorted(self.holders[digest], key=lambda holder: holder.newness)[::-1]
            equals = [holder for holder in newest if holder.newness == newest[0].newness]
            first = min(equals, key=lambda holder: len(shares.get(holder.server.id, ())))
            shares[first.server.id][digest] = [
                first,
                *(holder for holder in newest if holder is not first),
            ]
        return [part for share in shares.values() for part in _parted(share)]


def _parted(share: dict[str, list[_Holder]]) -> list[dict[str, list[_Holder]]]:
    """In as many parts as are worth a connection each: one where few digests are new."""
    parts = min(PARTS, -(-len(share) // PART))
    return [dict(list(share.items())[number::parts]) for number in range(parts)]
