"""Pins: which build a name means for the whole fleet, whichever server answers."""

from collections.abc import Callable, Sequence
from typing import Any

from ollama_admin.domain import names
from ollama_admin.domain.digests import WHOLE, digest_prefix, short
from ollama_admin.domain.pins import CheckedPin, Pin
from ollama_admin.errors import Conflict, InvalidInput, ModelNotFound, NotFound, StateChanged
from ollama_admin.rules import arguments
from ollama_admin.rules.likeness import nearest
from ollama_admin.services.audit import Audit, Told
from ollama_admin.store import models as store_models
from ollama_admin.store import pins as store
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database
from ollama_admin.store.pins import Holding

PAIRS = 20  # of server and digest in one message


class Pins:
    def __init__(self, db: Database, note: Callable[[str], None], audit: Audit) -> None:
        self._db = db
        self._note = note
        self._audit = audit

    async def set(
        self,
        name: str,
        *,
        digest: str | None = None,
        server: int | str | None = None,
        if_before: str | None = None,
    ) -> Pin:
        """Write which digest a name means, over the pin that it has.

        That is `digest` (a prefix of one that the catalogue knows, or all of it), else the one that
        `server`, or every active server that lists the name, has. Raises Conflict where they
        differ, ModelNotFound where none is known, and StateChanged where the pin before is another
        one than `if_before`; that is empty for a name that had none.
        """
        arguments.need(name=name)
        arguments.check(digest=digest, server=server)
        names.model_name(name)
        if digest is not None and server is not None:
            raise InvalidInput("a digest and a server are both given", "leave one of them out")
        prefix = None
        if digest is not None:
            prefix = digest_prefix(digest)
        pin, holdings = await self._audit.change(
            "pin.set",
            name,
            lambda connection: _replace(connection, name, prefix, server, if_before),
            lambda result: told_of(result[0]),
            makes=True,
        )
        pinned = [holding for holding in holdings if holding.digest == pin.digest]
        if not any(holding.counts for holding in pinned):
            self._note(f"no active server is known to have build {short(pin.digest)} of {pin.name}")
        if any(holding.is_remote for holding in pinned):
            self._note(
                f"{pin.name} is a remote model: no server can prove its build, so nothing answers "
                "while it is pinned"
            )
        return pin

    async def list(self) -> list[CheckedPin]:
        """Every pin, with how many available models of active servers are that build or another."""
        return await self._db.read(store.checked)

    async def remove(self, name: str, *, if_before: str | None = None) -> Pin:
        """Let a name mean again what each server says; gives back what was pinned. Raises
        StateChanged for another digest than `if_before`.
        """
        arguments.need(name=name)
        key = names.model_name(name)
        removed = await self._audit.change(
            "pin.remove",
            name,
            lambda connection: _remove(connection, key, if_before),
            lambda pin: None if pin is None else Told(subject=f"pin {pin.name}", before=pin),
        )
        if removed is None:
            await self._audit.record("pin.remove", name, NotFound.code)
            raise NotFound(f"no pin of {name!r}", "list them with: ollama-admin pin list")
        return removed


def told_of(pin: Pin) -> Told:
    """A pin that was set, for the audit."""
    before = None if pin.before is None else {"digest": pin.before}
    return Told(subject=f"pin {pin.name}", before=before, after={"digest": pin.digest})


def _replace(
    connection: Any, name: str, prefix: str | None, server: int | str | None, if_before: str | None
) -> tuple[Pin, Sequence[Holding]]:
    pin, holdings = set_pin(connection, name, prefix, server)
    _require_before(name, pin.before, if_before)
    return pin, holdings


def _remove(connection: Any, name: str, if_before: str | None) -> Pin | None:
    pin = store.remove(connection, name)
    _require_before(name, None if pin is None else pin.digest, if_before)
    return pin


def _require_before(name: str, before: str | None, if_before: str | None) -> None:
    """Raise StateChanged where another digest was pinned, which leaves it as it was."""
    if if_before is not None and (before or "") != if_before:
        raise StateChanged(
            f"the pin of {name!r} was changed in the meantime", "read it again, then decide"
        )


def set_pin(
    connection: Any,
    name: str,
    prefix: str | None,
    server: int | str | None = None,
    owner: str | None = None,
) -> tuple[Pin, Sequence[Holding]]:
    """Write a pin as `Pins.set` says; gives back the rows of the name that tell its build, too."""
    holdings = store.holdings(connection, name)
    if prefix is None:
        digest = _agreed(connection, name, holdings, server)
    else:
        digest = known_digest(name, prefix, holdings)
    return store.put(connection, _spelling(name, holdings), digest, owner), holdings


def _spelling(name: str, holdings: Sequence[Holding]) -> str:
    """The name as people see it in `models`; in its shortest form where no active server lists
    it.
    """
    for holding in holdings:
        if holding.counts:
            return holding.name
    return names.short_model_name(names.model_key(name))


def known_digest(name: str, prefix: str, holdings: Sequence[Holding]) -> str:
    """The digest that a prefix stands for among the known ones of a name. Raises ModelNotFound for
    none, and Conflict for several.
    """
    if len(prefix) == WHOLE:
        return prefix
    digests = sorted({holding.digest for holding in holdings if holding.digest.startswith(prefix)})
    if not digests:
        known = "no build of it is known"
        if holdings:
            known = f"known builds: {_pairs(holdings)}"
        raise ModelNotFound(
            f"no known build of {name!r} begins with {prefix}",
            f"{known}; all {WHOLE} digits will do",
        )
    if len(digests) > 1:
        raise Conflict(
            f"{len(digests)} builds of {name!r} begin with {prefix}",
            f"give more of: {', '.join(digests)}",
        )
    return digests[0]


def _agreed(
    connection: Any, name: str, holdings: Sequence[Holding], server: int | str | None
) -> str:
    """The one digest of a name on the server, or on all active ones that list it."""
    if server is None:
        subject, hint = "the active servers", "choose one with --digest D or --server S"
        nobody = "no active server lists"
        listing = [holding for holding in holdings if holding.counts]
    else:
        row = store_servers.find(connection, server)
        subject, hint = f"server {row.name}", "choose one with --digest D"
        nobody = f"{subject} does not list"
        on_server = [holding for holding in holdings if holding.server_id == row.id]
        listing = [holding for holding in on_server if holding.is_available]
    digests = {holding.digest for holding in listing}
    if not digests:
        raise _unlisted(connection, name, nobody)
    if len(digests) > 1:
        raise Conflict(f"{len(digests)} builds of {name!r} on {subject}: {_pairs(listing)}", hint)
    return digests.pop()


def _unlisted(connection: Any, name: str, nobody: str) -> ModelNotFound:
    near = nearest(name, store_models.similar_names(connection, name))
    hint = "read what servers hold with: ollama-admin discover"
    if names.model_key(name) in map(names.model_key, near):
        hint = (
            "the servers that list it show no digest, or were not asked; see: "
            "ollama-admin models --by-model"
        )
    elif near:
        hint = f"nearest: {', '.join(near)}"
    return ModelNotFound(f"{nobody} model {name!r} with a digest", hint)


def _pairs(holdings: Sequence[Holding]) -> str:
    """The servers with their digests, PAIRS of them at most, as a message lists them."""
    pairs = list(dict.fromkeys(f"{holding.server} {short(holding.digest)}" for holding in holdings))
    text = ", ".join(pairs[:PAIRS])
    if len(pairs) > PAIRS:
        text += f" and {len(pairs) - PAIRS} more"
    return text
