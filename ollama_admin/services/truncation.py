"""Whether a server cut the prompt: old ones do so without a word.

The version of the last check may be out of date, and the numbers of an answer are not: a prompt
that was kept whole never fills the context, since nothing could be said then.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ollama_admin.domain.models import Model
from ollama_admin.domain.requests import Question
from ollama_admin.errors import UpstreamError
from ollama_admin.rules.answers import Answer
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


async def truncated(
    question: Question,
    candidate: Candidate,
    answer: Answer,
    endpoint: "Endpoint",
    note: Callable[[str], None],
) -> bool | None:
    """Whether the prompt was cut: False (it would have been refused), True (seen), else None."""
    version, tokens = candidate.version, answer.prompt_tokens
    if version is None:
        return None
    may_be_full = _may_fill_a_context(tokens, question, candidate)
    keeps_whole = keeps_whole_prompt(version)
    context = None
    if may_be_full and keeps_whole is not False:
        version = await _version_now(endpoint)
        if version is None:
            return None
        keeps_whole = keeps_whole_prompt(version)
    if may_be_full or keeps_whole is False:
        context = await _context(question, candidate, version, endpoint)
    if tokens is None or context is None or tokens < context:
        is_refused = keeps_whole and question.truncate is False and question.shift is False
        return False if is_refused else None
    note(
        f"server {candidate.target.ref} ({version}) read {tokens} tokens, "
        "all that its context holds: the prompt was probably cut; give it a larger one with "
        "--option num_ctx=N"
    )
    return True


def _may_fill_a_context(tokens: int | None, question: Question, candidate: Candidate) -> bool:
    """Whether so many tokens of a prompt are a reason to look at the server once more."""
    if not tokens:
        return False
    wanted = question.options.get("num_ctx")
    return tokens in (wanted, _longest(candidate)) or (not wanted and tokens % STEP == 0)


async def _context(
    question: Question, candidate: Candidate, version: str, endpoint: "Endpoint"
) -> int | None:
    """Tokens of context in force; None where neither the request nor the server tells them."""
    key = version_key(version)
    wanted = question.options.get("num_ctx")
    context = wanted if isinstance(wanted, int) else None
    if not context and key >= PS_CONTEXT_SINCE:
        context = await _running_context(candidate, endpoint)
    if not context and keeps_whole_prompt(version) is False:
        context = 4096 if key >= CONTEXT_4096_SINCE else 2048
    longest = _longest(candidate)
    if context and longest:
        return min(context, longest)
    return context or None


def _longest(candidate: Candidate) -> int | None:
    """Tokens that the model itself can read, where that is known."""
    return candidate.listed.context_length if isinstance(candidate.listed, Model) else None


async def _running_context(candidate: Candidate, endpoint: "Endpoint") -> int | None:
    with suppress(UpstreamError):
        return await endpoint.running_context(candidate.name.text)
    return None


async def _version_now(endpoint: "Endpoint") -> str | None:
    with suppress(UpstreamError):
        return await endpoint.version()
    return None
