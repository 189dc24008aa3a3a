"""A registry of models on loopback that speaks the paths of the real ones,
`/v2/NAME/manifests/TAG`, with the digest in `Ollama-Content-Digest`.
"""

import hashlib
import json
from typing import Any

from ollama_admin.simulator.http import JSON, Connection, RecordedRequest, Reply
from ollama_admin.simulator.socket import SocketServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.ollama.manifest.list.v2+json"
NO_MANIFEST = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}


def manifest_of(text: str) -> dict[str, Any]:
    """What a registry has under a tag; another text is another build."""
    weights = hashlib.sha256(text.encode()).hexdigest()
    model = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{weights}",
        "size": 1_321_082_688,
    }
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": f"sha256:{'c' * 64}",
        "size": 485,
    }
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [model]}


def digest_of(manifest: Any, **how: Any) -> str:
    return hashlib.sha256(encoded(manifest, **how)).hexdigest()


def encoded(manifest: Any, **how: Any) -> bytes:
    return json.dumps(manifest, **(how or {"separators": (",", ":")})).encode()


class ModelRegistry(SocketServer):
    """`manifests` are bodies by `library/llama3.2:3b`, `lists` those for who takes lists; `answers`
    are other answers for a whole path.
    """

    def __init__(self, **manifests: bytes) -> None:
        super().__init__()
        self.manifests: dict[str, bytes] = dict(manifests)
        self.lists: dict[str, bytes] = {}
        self.answers: dict[str, Reply] = {}

    async def answer(self, connection: Connection, request: RecordedRequest) -> None:
        await connection.write(self._reply(request).encode())

    def _reply(self, request: RecordedRequest) -> Reply:
        if request.path in self.answers:
            return self.answers[request.path]
        name = request.path.removeprefix("/v2/").replace("/manifests/", ":")
        body = self.manifests.get(name)
        if MANIFEST_LIST in request.headers.get("accept", ""):
            body = self.lists.get(name, body)
        if request.method != "GET" or not request.path.startswith("/v2/") or body is None:
            return Reply(status=404, body=json.dumps(NO_MANIFEST).encode(), content_type=JSON)
        digest = hashlib.sha256(body).hexdigest()
        return Reply(
            body=body, content_type=MANIFEST, headers={"Ollama-Content-Digest": f"sha256:{digest}"}
        )
