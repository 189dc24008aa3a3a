"""What a server lists under a name, before something is sent to it and after its answer."""

from typing import TYPE_CHECKING

from ollama_admin.domain.answers import Proof
from ollama_admin.domain.digests import short
from ollama_admin.domain.models import ListedModel
from ollama_admin.domain.requests import Terms
from ollama_admin.errors import ModelMismatch, ModelNotFound, UpstreamError
from ollama_admin.rules.candidates import Candidate, Demand
from ollama_admin.rules.proof import Judgement
from ollama_admin.services.lists import Lists

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

RECENT = 1.0  # seconds


async def listed(candidate: Candidate, endpoint: "Endpoint", lists: Lists) -> ListedModel | None:
    """What the server itself lists under the name now; None for nothing, or for several models."""
    listing = await lists.now(candidate.target.ref, endpoint)
    return listing.only(candidate.name)


async def before_sending(
    candidate: Candidate,
    terms: Terms,
    endpoint: "Endpoint",
    lists: Lists,
    *,
    may_be_recent: bool = False,
) -> ListedModel | None:
    """What the server lists under the name, read where a build is demanded or none is known. With
    `may_be_recent` a list of the last second will do, unless somebody demands a build.

    Raises ModelMismatch when it is not the demanded build, and ModelNotFound when it is gone.
    """
    if candidate.demand is not None:
        within = 0.0
        if may_be_recent and candidate.demand.implied:
            within = RECENT
        return await _demanded(candidate, candidate.demand, endpoint, lists, within)
    if candidate.is_listed_now:
        return candidate.listed
    if candidate.stored_digest or terms.no_verify or not candidate.shows_digests:
        return None
    try:
        return await listed(candidate, endpoint, lists)
    except UpstreamError:  # nobody insists on it
        return None


def require(candidate: Candidate, judgement: Judgement) -> str | None:
    """What a person should know of the build that answered, None for nothing.

    Raises ModelMismatch when a build was demanded, and it is not proven that it answered.
    """
    if judgement.proof is Proof.DIGEST:
        return None
    doubt = _doubt(candidate, judgement)
    if candidate.demand is None:
        return doubt
    if doubt is None:
        doubt = f"nothing proves which build of {candidate.name} answered"
        if judgement.proof is Proof.REMOTE:
            doubt = f"a remote host answered for model {candidate.name}"
    raise ModelMismatch(
        f"{doubt}; {candidate.demand} was demanded", "what was shown is not accepted; ask again"
    )


async def _demanded(
    candidate: Candidate, demand: Demand, endpoint: "Endpoint", lists: Lists, within: float
) -> ListedModel:
    name, ref = candidate.name.text, candidate.target.ref
    listing = await lists.recent(ref, endpoint, within=within)
    model = listing.only(candidate.name)
    if model is None:
        raise ModelNotFound(f"server {ref} no longer lists model {name!r}")
    if not demand.allows(model.digest):
        raise ModelMismatch(
            f"model {name!r} on server {ref} is now build {short(model.digest)}, but {demand} "
            "is demanded; nothing was sent to it",
            "read again what it holds with: ollama-admin discover",
            may_pass_on=True,
        )
    return model


def _doubt(candidate: Candidate, judgement: Judgement) -> str | None:
    model = f"model {candidate.name.text} on server {candidate.target.ref}"
    if judgement.drift is not None:
        command = "discover"
        if candidate.server is not None:
            command = f"discover {candidate.server.ref.word}"
        return (
            f"{model} is now build {short(judgement.drift.after)}, not "
            f"{short(judgement.drift.before)}: it was moved; to accept it run: ollama-admin "
            f"{command}"
        )
    if judgement.proof is Proof.CHANGED:
        return f"{model} was moved or removed while it answered: which build answered is not known"
    if judgement.proof is Proof.UNREAD:
        return (
            f"{model}: its list could not be read after the answer: which build answered is not "
            "known"
        )
    return None
