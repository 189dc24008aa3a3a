"""What keeps a conversation at one server, where the beginning of its prompt is in memory. Pure.

A server that has read a prompt reads only what is new of the next turn. So all turns of one
conversation should have one key, and two conversations two.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]
Body = Mapping[str, Any]
Opening = tuple[Any, Any]  # a system prompt, and the first message of the user

# A session as the client itself calls it, the first of these that is there.
SESSION_HEADERS = (b"x-claude-code-session-id", b"x-openwebui-chat-id")

# Bytes that are hashed at most. Each part has its own bound, so that a system prompt of any length
# leaves room for the message that tells two conversations apart.
NAME = 2 * 2**10
SYSTEM = 30 * 2**10
MESSAGE = 30 * 2**10
PROMPT = 2 * 2**10  # of a plain prompt, which may hold the whole conversation and then grows
ITEMS = 256  # messages, or parts of one, that are looked at


def affinity_key(path: str, headers: Headers, body: Body | None, key_id: str) -> bytes | None:
    """The key of the conversation that a request belongs to; None where nothing tells one.

    It is the first that exists of the session in a header, `prompt_cache_key` in the body, and what
    the conversation begins with: the key of the caller, the model, the system prompt and the first
    message of the user. `path` is one of Ollama's, OpenAI's or Anthropic's API, without a query;
    embeddings and whatever else holds no conversation have no key. Header names are lower case, as
    ASGI gives them. The body may be anything: what has another type than it should says nothing.
    """
    dialect = _DIALECTS.get(path)
    if dialect is None:
        return None
    session = _session(headers)
    if session is not None:
        return _hashed(b"session", session[:MESSAGE])
    if not isinstance(body, Mapping):
        return None
    cache_key = _bounded(body.get("prompt_cache_key"), MESSAGE)
    if cache_key:
        return _hashed(b"cache key", cache_key)
    opening, limit = dialect
    system, message = opening(body)
    system, message = _text(system, SYSTEM), _text(message, limit)
    if not system and not message:
        return None
    model = _bounded(body.get("model"), NAME)
    return _hashed(b"opening", _bounded(key_id, NAME), model, system, message)


def _session(headers: Headers) -> bytes | None:
    for wanted in SESSION_HEADERS:
        for name, value in headers:
            if name == wanted and value.strip():
                return value.strip()
    return None


def _hashed(*parts: bytes) -> bytes:
    """Each part goes in with its length, so that no two lists of parts are the same bytes."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _generate(body: Body) -> Opening:
    return body.get("system"), _prompt(body)


def _completion(body: Body) -> Opening:
    return None, _prompt(body)


def _chat(body: Body) -> Opening:
    return _conversation(body.get("messages"))


def _anthropic(body: Body) -> Opening:
    _, message = _conversation(body.get("messages"))
    return body.get("system"), message


def _response(body: Body) -> Opening:
    given = body.get("input")
    system, message = _conversation(given)
    if isinstance(given, str):
        message = given
    return body.get("instructions") or system, message


_DIALECTS: Mapping[str, tuple[Callable[[Body], Opening], int]] = {
    "/api/generate": (_generate, PROMPT),
    "/api/chat": (_chat, MESSAGE),
    "/v1/chat/completions": (_chat, MESSAGE),
    "/v1/completions": (_completion, PROMPT),
    "/v1/responses": (_response, MESSAGE),
    "/v1/messages": (_anthropic, MESSAGE),
}


def _prompt(body: Body) -> Any:
    prompt = body.get("prompt")
    if isinstance(prompt, list):  # several prompts in one request
        return next(iter(prompt), None)
    return prompt


def _conversation(messages: Any) -> Opening:
    """The system prompt in front of the first message of the user, and that message."""
    system = None
    for message in _mappings(messages):
        role, content = message.get("role"), message.get("content")
        if role == "user":
            return system, content
        if role in ("system", "developer"):
            system = system or content
    return system, None


def _text(content: Any, limit: int) -> bytes:
    """The text of a message or a system prompt, which is a text or a list of blocks."""
    if isinstance(content, str):
        return _bounded(content, limit)
    text = b""
    for block in _mappings(content):
        text += _bounded(block.get("text"), limit - len(text))
    return text


def _mappings(items: Any) -> Iterator[Body]:
    if not isinstance(items, list | tuple):
        return
    for item in islice(items, ITEMS):
        if isinstance(item, Mapping):
            yield item


def _bounded(text: Any, limit: int) -> bytes:
    """The beginning of a text in UTF-8, at most `limit` bytes; nothing of what is no text."""
    if not isinstance(text, str):
        return b""
    return text[:limit].encode("utf-8", "surrogatepass")[:limit]
