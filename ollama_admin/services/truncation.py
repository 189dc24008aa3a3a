"""Whether a server cut the prompt: old ones do so without a word.

The version of the last check may be out of date, and the numbers of an answer are not: a prompt
that was kept whole never fills the context, since nothing could be said then.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ollama_admin.domain.models import Model, ShownContext
from ollama_admin.domain.requests import Question
from ollama_admin.errors import ModelNotFound, UpstreamError
from ollama_admin.rules.candidates import Candidate
from ollama_admin.rules.versions import (
    CONTEXT_4096_SINCE,
    PS_CONTEXT_SINCE,
    keeps_whole_prompt,
    version_key,
)

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

STEP = 1024  # tokens; the contexts that servers choose by themselves are multiples of it
SHORT = 512  # tokens; hardly a model has a shorter context


async def truncated(
    question: Question,
    candidate: Candidate,
    tokens: int | None,
    endpoint: "Endpoint",
    note: Callable[[str], None],
) -> bool | None:
    """Whether a prompt that counted `tokens` was cut: False (it would have been refused), True
    (seen), else None.
    """
    version = candidate.version
    if version is None:
        return None
    may_be_full = _may_fill_a_context(tokens, question, candidate)
    keeps_whole = keeps_whole_prompt(version)
    if keeps_whole is not False and (may_be_full or (tokens or 0) >= SHORT):
        version = await _version_now(endpoint)
        if version is None:
            return None
        keeps_whole = keeps_whole_prompt(version)
    is_full = False
    if tokens and (may_be_full or keeps_whole is False):
        is_full = await _is_full(tokens, question, candidate, version, endpoint)
    if not is_full:
        is_refused = keeps_whole and question.truncate is False and question.shift is False
        return False if is_refused else None
    note(
        f"server {candidate.target.ref} ({version}) read {tokens} tokens, "
        "all that its context holds: the prompt was probably cut; allow a larger one with "
        "--option num_ctx=N"
    )
    return True


def _may_fill_a_context(tokens: int | None, question: Question, candidate: Candidate) -> bool:
    """Whether so many tokens of a prompt are a reason to look at the server once more."""
    if not tokens:
        return False
    wanted = question.options.get("num_ctx")
    return tokens in (wanted, _longest(candidate)) or (not wanted and tokens % STEP == 0)


async def _is_full(
    tokens: int, question: Question, candidate: Candidate, version: str, endpoint: "Endpoint"
) -> bool:
    """Whether the prompt took all of the context, as far as numbers prove it.

    A context that is told is full from there on. One that is only assumed may be another in truth
    (`OLLAMA_CONTEXT_LENGTH`): there the numbers must be equal.
    """
    wanted = question.options.get("num_ctx")
    longest = _longest(candidate)
    context = wanted if isinstance(wanted, int) and wanted > 0 else None
    if context is None and version_key(version) >= PS_CONTEXT_SINCE:
        context = await _running_context(candidate, endpoint)
    elif context is None or longest is None:
        shown = await _shown(candidate, endpoint)
        context, longest = context or shown.chosen, longest or shown.longest
    if context is not None:
        return tokens >= min(context, longest or context)
    return tokens in (longest, _assumed(version))


def _assumed(version: str) -> int | None:
    """Tokens of a context that nobody set; None for versions that tell it."""
    if keeps_whole_prompt(version) is not False:
        return None
    if version_key(version) >= CONTEXT_4096_SINCE:
        return 4096
    return 2048


def _longest(candidate: Candidate) -> int | None:
    """Tokens that the model itself can read, where that is known."""
    return candidate.listed.context_length if isinstance(candidate.listed, Model) else None


async def _running_context(candidate: Candidate, endpoint: "Endpoint") -> int | None:
    with suppress(UpstreamError):
        return await endpoint.running_context(candidate.name.text)
    return None


async def _shown(candidate: Candidate, endpoint: "Endpoint") -> ShownContext:
    with suppress(UpstreamError, ModelNotFound):
        return await endpoint.shown_context(candidate.name.text)
    return ShownContext()


async def _version_now(endpoint: "Endpoint") -> str | None:
    with suppress(UpstreamError):
        return await endpoint.version()
    return None
