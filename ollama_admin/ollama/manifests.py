"""What a registry of models has under a name: its manifest, by the paths that Ollama itself asks.

Only names go out, and no credentials.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from ollama_admin.domain.builds import Manifest
from ollama_admin.domain.names import RegistryName
from ollama_admin.domain.servers import ApiVersion, ServerRef, Target
from ollama_admin.errors import (
    AdminError,
    ModelNotFound,
    ServerBusy,
    ServerUnauthorized,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.faults import AWAY, reason_of
from ollama_admin.ollama.response import Answer, BadAnswer, Patience, read_json, read_whole

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# of a name with a manifest for each kind of runner, which Ollama asks for since 0.40
MANIFEST_LIST = "application/vnd.ollama.manifest.list.v2+json"
SECONDS = 10.0  # for one answer in all
REDIRECTS = 3  # hf.co leads to huggingface.co
_MOVED = (301, 302, 307, 308)
_LAYER_FIELDS = ("mediaType", "digest", "size", "from", "name")  # as Ollama writes them

_NO_REGISTRY = "is it a registry of models? name another with --registry URL"

Connect = Callable[[Target, float | None], Endpoint]


class Manifests:
    """Asks registries; every error names the registry."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def read(self, registry: str, name: RegistryName) -> Manifest:
        """The manifest of a name at a registry's URL.

        Raises ModelNotFound where the registry does not have it, and UpstreamError.
        """
        body = await self._ask(registry, name, MANIFEST)
        digest = _sha256(body)
        rewritten = _sha256(_rewritten(read_json(body)))
        return Manifest(digest=digest, digests=frozenset((digest, rewritten)))

    async def read_list(self, registry: str, name: RegistryName) -> Manifest | None:
        """The list of a name that has a manifest for each kind of runner; None for any other."""
        body = await self._ask(registry, name, f"{MANIFEST_LIST}, {MANIFEST}")
        document = read_json(body)
        if document.get("mediaType") != MANIFEST_LIST:
            return None
        digest = _sha256(body)
        digests = {digest}
        for part in document["manifests"]:
            digests.add(str(part.get("digest")).removeprefix("sha256:"))
        return Manifest(digest=digest, digests=frozenset(digests))

    async def _ask(self, registry: str, name: RegistryName, accept: str) -> bytes:
        path = f"/v2/{name.repository}/manifests/{name.tag}"
        url = f"{registry}{path}"
        for _ in range(REDIRECTS + 1):
            answer = await self._answer(registry, url, accept)
            if answer.status not in _MOVED:
                return _body(answer, registry, name)
            url = _led_to(answer, registry, url)
        raise UpstreamError(f"registry {registry} redirects {path} more than {REDIRECTS} times")

    async def _answer(self, registry: str, url: str, accept: str) -> Answer:
        """The answer at a URL, of any status; of 200 only what may be a manifest."""
        parts = urlsplit(url)
        target = _target(f"{parts.scheme}://{parts.netloc}")
        path = parts.path or "/"
        if parts.query:
            path = f"{path}?{parts.query}"
        endpoint = self._connect(target, SECONDS)
        patience = Patience(first_byte=SECONDS, idle=SECONDS)
        asking = endpoint.request(
            "GET", path, headers=((b"Accept", accept.encode()),), patience=patience
        )
        try:
            async with asyncio.timeout(SECONDS), asking as response:
                answer = await read_whole(response)
                if answer.status == 200:
                    _require_manifest(answer.body)
                return answer
        except TimeoutError as exc:
            raise _unreachable(registry, f"timed out after {SECONDS:g} s") from exc
        except ServerUnreachable as exc:
            raise _unreachable(registry, reason_of(exc, target)) from exc
        except UpstreamError as exc:
            raise UpstreamError(exc.message.replace("server", "registry", 1), _NO_REGISTRY) from exc


def _target(origin: str) -> Target:
    ref = ServerRef(id=None, name=None, url=origin)
    return Target(ref=ref, api_version=ApiVersion.NATIVE)


def _body(answer: Answer, registry: str, name: RegistryName) -> bytes:
    if answer.status == 200:
        return answer.body
    raise _refusal(answer.status, registry, f"{name.repository}:{name.tag}")


def _refusal(status: int, registry: str, model: str) -> AdminError:
    if status == 404:
        return ModelNotFound(f"registry {registry} has no model {model}")
    if status in (401, 403):
        return ServerUnauthorized(
            f"registry {registry} shows {model} to nobody without credentials ({status})",
            "it is private there, or there is no such model",
        )
    message = f"registry {registry} answered {status} to the question for {model}"
    if status == 429 or status in AWAY:
        return ServerBusy(message, "try again later")
    return UpstreamError(message, _NO_REGISTRY)


def _unreachable(registry: str, reason: str) -> ServerUnreachable:
    return ServerUnreachable(
        f"registry {registry} cannot be reached: {reason}",
        "this command needs the registry: go online, or name another with --registry URL",
    )


def _led_to(answer: Answer, registry: str, url: str) -> str:
    """Where a redirect leads; a connection that nobody can read is not left for one that all can
    read.
    """
    try:
        following = urljoin(url, answer.location or "")
        parts = urlsplit(following)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not is_usable or (url.startswith("https") and parts.scheme != "https"):
        raise UpstreamError(f"registry {registry} redirects to what is not followed", _NO_REGISTRY)
    return following


def _require_manifest(body: bytes) -> None:
    document = read_json(body)
    if isinstance(document, dict):
        parts = document.get("manifests", document.get("layers"))
        if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
            return
    raise BadAnswer("the answer is no manifest")


def _rewritten(document: Mapping[str, Any]) -> bytes:
    """The manifest as Ollama before 0.19 wrote it down: read, and put together again by Go."""
    layers = [_layer(layer) for layer in document.get("layers", ())]
    manifest = {
        "schemaVersion": document.get("schemaVersion", 0),
        "mediaType": document.get("mediaType", ""),
        "config": _layer(document.get("config") or {}),
        "layers": layers,
    }
    text = json.dumps(manifest, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text.encode()


def _layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    """What Go keeps of a layer, in its order; the last two only where they say something."""
    kept = {"mediaType": "", "digest": "", "size": 0}
    for field in _LAYER_FIELDS:
        if layer.get(field) or field in kept:
            kept[field] = layer.get(field, kept.get(field))
    return kept


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
