"""Discovery: reads what servers hold and makes the model rows say so."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ollama_admin.domain.models import BuildDetails, DiscoverResult, OffPin
from ollama_admin.domain.names import model_key
from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError, Conflict, InvalidInput, ServerUnreachable
from ollama_admin.rules.versions import version_key
from ollama_admin.services.checks import check_result, version_of
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.servers import Connect
from ollama_admin.services.targets import Targets
from ollama_admin.services.tasks import Batches, WorkLimit, together
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import checks as store_checks
from ollama_admin.store import listings as store
from ollama_admin.store import pins as store_pins
from ollama_admin.store.database import Database

PART = 40  # digests that one connection is enough for
PARTS = 4  # connections to one server, at most

Listings = Batches[store.Listing, store.ListingChanges | None]


class _Holder(NamedTuple):
    """A server that holds a digest under some name; `newness` is the key of its version."""

    newness: tuple[int, int, int]
    server: Server
    name: str


# of each digest, the servers that hold it, in the order in which they are asked for its details
Share = Mapping[str, Sequence[_Holder]]


class Discovery:
    """One run over a set of servers. Each server's rows are stored as soon as it has answered."""

    def __init__(self, db: Database, connect: Connect, auth: UpstreamAuth) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth

    async def run(
        self,
        targets: Targets,
        *,
        timeout: float | None = None,
        concurrency: int | None = None,
        prune: bool = False,
        on_start: Callable[[int], None] = lambda _: None,
        on_result: Callable[[DiscoverResult], None] = lambda _: None,
    ) -> list[DiscoverResult]:
        """Ask the servers and store what they list.

        `on_start` is given the number of servers, `on_result` each result once it is stored.
        `timeout` is seconds for each call. `concurrency` is how many servers are asked at once;
        None leaves it to WorkLimit. A server that fails keeps its rows, and costs the others
        nothing.
        """
        if concurrency is not None and concurrency < 1:
            raise InvalidInput("concurrency must be 1 or more")
        if timeout is not None and not timeout > 0:
            raise InvalidInput("the timeout must be greater than 0 seconds")
        chosen, pinned = await self._db.read(_chosen, targets)
        on_start(len(chosen))
        limit, builds = WorkLimit(concurrency), _Builds(pinned)
        listings: Listings = Batches(
            lambda batch: self._db.write(store.store_listings, batch, prune=prune)
        )

        async def ask(server: Server) -> store.Listing:
            return await self._read(server, timeout)

        async def record(outcome: Answered[store.Listing] | Failed) -> DiscoverResult:
            return await self._record(outcome, listings, builds)

        results = await ask_each(chosen, ask, record, limit=limit, on_result=on_result)
        await self._learn(builds, timeout, limit)
        return results

    async def _read(self, server: Server, timeout: float | None) -> store.Listing:
        endpoint = self._connect(await self._auth.target(server), timeout)
        version = await version_of(endpoint, server)
        models = await endpoint.models(is_ollama=version is not None)
        if not models:  # one empty answer is not enough to call everything gone
            models = await endpoint.models(is_ollama=version is not None)
        return store.Listing(server=server.ref, version=version, models=models)

    async def _record(
        self,
        outcome: Answered[store.Listing] | Failed,
        listings: Listings,
        builds: "_Builds",
    ) -> DiscoverResult:
        if isinstance(outcome, Failed):
            return await self._record_failure(outcome)
        try:
            return await _record_listing(outcome, listings, builds)
        except InvalidInput as exc:  # a name that the database's encoding cannot hold
            failure = Failed(server=outcome.server, error=exc, ms=outcome.ms)
            return await self._record_failure(failure)

    async def _record_failure(self, failure: Failed) -> DiscoverResult:
        """Note that the server failed; its models stay as they were."""
        await self._db.write(store_checks.record_checks, [check_result(failure)])
        return DiscoverResult(server=failure.server.ref, error=failure.error)

    async def _learn(self, builds: "_Builds", timeout: float | None, limit: WorkLimit) -> None:
        """Ask `/api/show` once for every digest whose details no row knows, and store them."""

        async def read(share: Share) -> dict[str, BuildDetails]:
            async with limit.take():
                return await self._read_share(share, builds, timeout)

        details: dict[str, BuildDetails] = {}
        for answers in await together(map(read, builds.shared_out())):
            details |= answers
        if details:
            await self._store_details(details)

    async def _store_details(self, details: Mapping[str, BuildDetails]) -> None:
        """What cannot be stored of one build is left out until the next discovery."""
        try:
            await self._db.write(store.store_details, details)
        except InvalidInput:
            if len(details) > 1:
                for digest, build in details.items():
                    await self._store_details({digest: build})

    async def _read_share(
        self, share: Share, builds: "_Builds", timeout: float | None
    ) -> dict[str, BuildDetails]:
        """The details of the digests of a share, one read after the other.

        A digest that nobody tells them of is left out until the next discovery.
        """
        details = {}
        for digest, holders in share.items():
            answer = await self._read_details(holders, builds, timeout)
            if answer is not None:
                details[digest] = answer
        return details

    async def _read_details(
        self, holders: Sequence[_Holder], builds: "_Builds", timeout: float | None
    ) -> BuildDetails | None:
        """The details of a build from the first of its holders that tells them; None where none
        does.
        """
        for _, server, name in holders:
            if server.id in builds.failed:
                continue
            try:
                return await self._connect(await self._auth.target(server), timeout).show(name)
            except ServerUnreachable:
                builds.failed.add(server.id)
            except AdminError:
                continue
        return None


async def _record_listing(
    outcome: Answered[store.Listing], listings: Listings, builds: "_Builds"
) -> DiscoverResult:
    """Store what a server lists, and keep in `builds` whom to ask for the facts of what is new."""
    server, listing = outcome.server, outcome.answer
    changes = await listings.add(listing)
    if changes is None:
        gone = Conflict(
            f"server {server.name} was removed or moved to another URL meanwhile",
            "discover again",
        )
        return DiscoverResult(server=server.ref, error=gone)
    builds.add(server, listing, changes.without_details)
    return DiscoverResult(
        server=server.ref,
        added=changes.added,
        changed=changes.changed,
        unchanged=changes.unchanged,
        vanished=changes.vanished,
        pruned=changes.pruned,
        off_pin=builds.off_pin(listing),
    )


def _chosen(connection: Any, targets: Targets) -> tuple[Sequence[Server], dict[str, str]]:
    """The servers of a run, and the pinned digests by key."""
    return targets.servers(connection), store_pins.digests(connection)


class _Builds:
    """Which servers of this run hold which digest; `failed` are not asked again in it."""

    def __init__(self, pinned: Mapping[str, str]) -> None:
        self._pinned = pinned
        self._holders: dict[str, list[_Holder]] = defaultdict(list)
        self._without_details: set[str] = set()
        self.failed: set[int] = set()

    def add(self, server: Server, listing: store.Listing, without_details: Collection[str]) -> None:
        """Note who holds the digests that a server lists, and of which no row knows the details."""
        self._without_details.update(without_details)
        if not listing.version:
            return
        newness = version_key(listing.version)
        for model in listing.models:
            if model.digest and not model.is_remote:
                self._holders[model.digest].append(_Holder(newness, server, model.name))

    def off_pin(self, listing: store.Listing) -> tuple[OffPin, ...]:
        """The models of an Ollama server, by name, that are another build than the one their name
        is pinned to.
        """
        if not listing.version or not self._pinned:
            return ()
        off_pin = []
        for model in sorted(listing.models, key=lambda model: model.name):
            pinned = self._pinned.get(model_key(model.name))
            if pinned and model.digest and model.digest != pinned:
                off_pin.append(OffPin(name=model.name, digest=model.digest, pinned=pinned))
        return tuple(off_pin)

    def shared_out(self) -> list[Share]:
        """For each server, the digests whose details it is asked for, one after the other over the
        connection it has; a long share comes in parts.

        With each digest come its holders, newest first; of equals, the one with the smallest share.
        """
        shares: dict[int, dict[str, list[_Holder]]] = defaultdict(dict)
        for digest in sorted(self._without_details & self._holders.keys()):
            # of equals the one that listed last comes first, whose connection is the most likely to
            # be open still
            newest = sorted(self._holders[digest], key=lambda holder: holder.newness)[::-1]
            equals = [holder for holder in newest if holder.newness == newest[0].newness]
            first = min(equals, key=lambda holder: len(shares.get(holder.server.id, ())))
            holders = [first]
            holders += [holder for holder in newest if holder is not first]
            shares[first.server.id][digest] = holders
        return [part for share in shares.values() for part in _parted(share)]


def _parted(share: dict[str, list[_Holder]]) -> list[Share]:
    """The share in as many parts as are worth a connection each: one where few digests are new."""
    parts = min(PARTS, -(-len(share) // PART))
    return [dict(list(share.items())[number::parts]) for number in range(parts)]
