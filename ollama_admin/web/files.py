"""Style sheets, scripts and pictures: read once, and kept by browsers until they change."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ollama_admin.gateway.refusals import Refused
from ollama_admin.web.paths import STATIC

FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_KEPT = "public, max-age=31536000, immutable"  # the URL has the hash of what is behind it


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    media_type: str
    digest: str


class Files:
    def __init__(self) -> None:
        paths = [path for path in FOLDER.iterdir() if path.suffix in _TYPES]
        self._files = {path.name: _read(path) for path in paths}

    def url(self, name: str) -> str:
        """The path of a file, another one after each change of it."""
        return f"{STATIC}{name}?v={self._files[name].digest}"

    async def answer(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            raise Refused(404, "there is no such file")
        return Response(file.content, media_type=file.media_type, headers={"Cache-Control": _KEPT})


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])
