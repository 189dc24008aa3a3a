"""A server that may answer a request, and why it may not be asked after all. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ollama_admin.domain.digests import short
from ollama_admin.domain.models import CONSTANT_DIGESTS, ListedModel, Model
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.requests import Terms
from ollama_admin.domain.servers import ApiVersion, Server, ServerRef, Target
from ollama_admin.errors import AdminError, InvalidInput, ModelMismatch, RemoteNotAllowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The build that must answer: a digest or the beginning of one, and what demands it, as users
    know it. An `implied` one nobody has demanded: it is that of the server which was preferred.
    """

    digest: str
    by: str
    implied: bool = False

    def allows(self, digest: str | None) -> bool:
        return digest is not None and digest.startswith(self.digest)

    def __str__(self) -> str:
        return f"{short(self.digest)} ({self.by})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A server that a request may go to. `name` is spelt as the server spells it, `demand` is the
    build that it must answer with.

    `server` is None for a dynamic server. `listed` is what the catalogue, or the server's own list,
    says of the model; `is_listed_now` that it is the list. `stored_digest` is the build of the
    catalogue. `shows_digests` says whether the server's list tells which build a name stands for.
    """

    target: Target
    server: Server | None
    name: ModelName
    listed: ListedModel | None
    is_listed_now: bool
    version: str | None
    is_remote: bool
    shows_digests: bool
    stored_digest: str | None = None
    demand: Demand | None = None


def is_demanded(candidate: Candidate) -> bool:
    """Whether somebody demands a build, so that nothing else may be shown as an answer."""
    return candidate.demand is not None and not candidate.demand.implied


def without_demand(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that nothing need be proven of; ModelMismatch where there are none."""
    free = [candidate for candidate in candidates if candidate.demand is None]
    if not free:
        raise ModelMismatch(
            f"such an answer proves no build, but {candidates[0].demand} is demanded",
            "leave the demand out, or remove the pin",
        )
    return free


def from_row(target: Target, server: Server, row: Model, name: ModelName) -> Candidate:
    """A candidate as the catalogue knows it."""
    shows = shows_digests(server, row)
    return Candidate(
        target=target,
        server=server,
        name=replace(name, text=row.name),
        listed=row,
        is_listed_now=False,
        version=server.version,
        is_remote=_is_remote(name, row),
        shows_digests=shows,
        stored_digest=row.digest if shows else None,
    )


def from_list(
    target: Target,
    server: Server | None,
    name: ModelName,
    listed: ListedModel | None,
    version: str | None,
    *,
    is_ollama: bool,
) -> Candidate:
    """A candidate as the server itself lists the model, or does not; Ollama answers 404 itself."""
    is_constant = listed is not None and listed.family == CONSTANT_DIGESTS
    if listed is not None:
        name = replace(name, text=listed.name)
    return Candidate(
        target=target,
        server=server,
        name=name,
        listed=listed,
        is_listed_now=listed is not None,
        version=version,
        is_remote=_is_remote(name, listed),
        shows_digests=is_ollama and not is_constant,
    )


def shows_digests(server: Server, row: Model) -> bool:
    """Whether the server's list tells which build a name stands for, as far as the catalogue knows.

    The last check may have found a program that is not Ollama at the URL: what discovery stored of
    it before is no build of its.
    """
    return server.is_ollama is not False and row.family != CONSTANT_DIGESTS


def stored_build(server: Server, row: Model) -> str | None:
    """The digest that the last discovery stored, where the server's digests tell builds apart."""
    return row.digest if shows_digests(server, row) else None


def demand_of(candidate: Candidate, terms: Terms, demand: Demand | None) -> Demand | None:
    """The build that must answer: with `--verified` the one that the last discovery stored, which
    must be the one that is demanded otherwise. Raises ModelMismatch where that cannot be.
    """
    if not terms.verified:
        return demand
    stored, ref = candidate.stored_digest, candidate.target.ref
    if stored is None:
        command = "--digest, for a server not in the database"
        if ref.id is not None:
            command = f"ollama-admin discover {ref.word}"
        raise ModelMismatch(
            f"no digest of model {candidate.name.text!r} is stored for server {ref}",
            f"use {command}",
        )
    if demand is not None and not demand.allows(stored):
        raise ModelMismatch(
            f"model {candidate.name.text!r} on server {ref} is stored as build {short(stored)}, "
            f"but {demand} is demanded",
            "leave --verified out, or change the pin",
        )
    return Demand(digest=stored, by="--verified")


def refusal(
    candidate: Candidate,
    terms: Terms,
    demand: Demand | None,
    cannot_carry: Mapping[ApiVersion, str],
) -> AdminError | None:
    """Why the one server that is left may not be asked, None when it may.

    `cannot_carry` names, for each dialect that cannot express the request, what it cannot carry.
    """
    ref, text = candidate.target.ref, candidate.name.text
    if demand is not None and candidate.is_remote:
        return ModelMismatch(
            f"model {text!r} answers from a remote host, which proves no build, but {demand} "
            "is demanded"
        )
    if demand is not None and not candidate.shows_digests:
        return ModelMismatch(
            f"server {ref} is not Ollama and shows no digests, but {demand} is demanded"
        )
    if candidate.is_remote and not terms.allow_remote:
        return remote_refused(text, candidate.listed)
    spoken = candidate.target.api_version
    if spoken in cannot_carry:
        return not_carried(ref, spoken, cannot_carry[spoken])
    return None


def not_carried(server: ServerRef, spoken: ApiVersion, lacking: str) -> InvalidInput:
    """The error of a server whose dialect cannot express a part of the request."""
    command = ""
    if server.id is not None:
        command = f": ollama-admin server update {server.word} --api-version native"
    return InvalidInput(
        f"the {spoken} API of server {server} cannot carry {lacking}",
        f"leave it out, or if the server is Ollama, use its own API{command}",
    )


def remote_refused(name: str, model: ListedModel | None) -> RemoteNotAllowed:
    """The error of a prompt that would leave the fleet unasked."""
    host = "ollama.com"
    if model is not None and model.remote_host:
        host = model.remote_host
    return RemoteNotAllowed(
        f"model {name!r} runs at {host}: the prompt would leave the fleet",
        "allow it with --allow-remote",
    )


def _is_remote(name: ModelName, listed: ListedModel | None) -> bool:
    """Whether a prompt to it leaves the fleet, as far as the name and the list tell."""
    if name.is_cloud or listed is None:
        return name.is_cloud
    return bool(listed.remote_host or listed.remote_model)
