"""The copy of a body that is looked at: which model it names, and what of it is ours.

The bytes themselves go on as they are.
"""

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ollama_admin.domain.labels import MOST
from ollama_admin.domain.strict_json import LONGEST_INTEGER
from ollama_admin.gateway.refusals import Refused

DECODED_LIMIT = 20 * 2**20  # bytes of a compressed body; Ollama has the same limit
_SLICE = 256  # bytes of zstd, of which at most 11 MiB come
WINDOW = 2**27  # bytes that a decoder may be asked to keep
PARTS_LIMIT = 1000  # of a form
HEAD_LIMIT = 2000  # bytes of the head of a part
_CHARSET = r"(?:;\s*charset=[\w-]{1,40}\s*)?"
_FORM = re.compile(
    rf'multipart/form-data\s*{_CHARSET};\s*boundary=(?:"([^"\\]{{1,200}})"|([^\s";,\\]{{1,200}}))'
    rf"\s*{_CHARSET}",
    re.IGNORECASE,
)
# One line that says the name of a part, in the one way that every reader reads alike.
_FIELD = re.compile(
    rb'content-disposition:[ \t]*form-data[ \t]*;[ \t]*name="([^"\\\r\n]*)"'
    rb'(?:[ \t]*;[ \t]*filename\*?=(?:"(?:[^"\\\r\n]|\\[^\r\n])*"|[^\s";]*))*[ \t]*',
    re.IGNORECASE,
)
_BAD_FORM = "the form is ambiguous"
_NO_JSON = "the body is not a JSON object in UTF-8"
_TWICE = "the body names its model twice, or in another case than 'model'"
# Ours, where Ollama's own paths are asked.
OURS = ("server", "server_url", "digest", "labels")


class Look(NamedTuple):
    """What was seen: the model as it is spelt, and the top level of the document, empty for a
    form.
    """

    model: str
    document: Mapping[str, Any] = MappingProxyType({})

    def ours(self, name: str) -> str | int | None:
        """One of `OURS` that is one word; Refused for a value that cannot be one."""
        value = self.document.get(name)
        if value is None or (type(value) is int and name == "server"):
            return value
        if not isinstance(value, str) or not value:
            raise Refused(400, f"{name} of the body is not a name")
        return value

    def labels(self) -> tuple[str, ...]:
        """What `labels` of the body are; Refused for what is no list of words."""
        value = self.document.get("labels") or ()
        is_list = isinstance(value, (list, tuple)) and len(value) <= MOST
        if not is_list or not all(isinstance(label, str) for label in value):
            raise Refused(400, "labels of the body are not a list of words such as gpu=a100")
        return tuple(value)


def look_at(body: bytes, content_type: str) -> Look:
    """Read the copy; Refused where it names no model, or names it in a way that could be read as
    two.
    """
    if is_form(content_type):
        return Look(model=_model_of_form(body, content_type))
    document = read(body)
    return Look(model=_model_of(document), document=document)


def is_form(content_type: str) -> bool:
    return content_type[:9].lower() == "multipart"


def read(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Refused where two readers could take two values for its model."""
    try:
        document = _DECODER.decode(body.decode())
    except RecursionError as exc:
        raise Refused(400, "the body is nested too deep") from exc
    except ValueError as exc:
        raise Refused(400, _NO_JSON) from exc
    if not isinstance(document, dict):
        raise Refused(400, _NO_JSON)
    for key in document:
        if key != "model" and key.casefold() == "model":  # Go takes it in whatever case
            raise Refused(400, _TWICE)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs) and [key for key, _ in pairs].count("model") > 1:
        raise Refused(400, _TWICE)
    return document


def _integer(text: str) -> int | str:
    """A long one is a matter of the server alone. To read it takes the square of its length, and
    stops all threads meanwhile.
    """
    return int(text) if len(text) <= LONGEST_INTEGER else text


# made once: `json.loads` would make one for each body, which takes longer than to read it
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def _model_of(document: Mapping[str, Any]) -> str:
    model = document.get("model")
    if model is None or model == "":
        raise Refused(400, "model is required", 'name it in the body: "model": "..."')
    if not isinstance(model, str):
        raise Refused(400, "model in the body is not text")
    return model


def decoded(body: bytes, encoding: str) -> bytes:
    """The body without its compression; Refused for one that is not known or grows too long."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    try:
        if encoding in ("gzip", "x-gzip"):
            return _inflated(zlib.decompressobj(31), body)
        if encoding == "deflate":
            return _inflated(zlib.decompressobj(), body)
        if encoding == "zstd":
            return _unpacked(body)
    except (zlib.error, ValueError) as exc:
        raise Refused(400, f"the body cannot be read as {encoding}") from exc
    message = f"bodies compressed with {encoding[:40]!a} are not supported"
    raise Refused(415, message, "send gzip or zstd")


def _inflated(inflater: "zlib._Decompress", body: bytes) -> bytes:
    decoded = inflater.decompress(body, DECODED_LIMIT + 1)
    if len(decoded) > DECODED_LIMIT:
        raise _too_long()
    if not inflater.eof:
        raise ValueError("it ends too early")
    if inflater.unused_data:
        raise ValueError("something follows its end")
    return decoded


def _unpacked(body: bytes) -> bytes:
    import zstandard  # noqa: PLC0415 (few clients send it)

    unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
    decoded = bytearray()
    try:
        for at in range(0, len(body), _SLICE):  # it cannot be told how much may come of one
            decoded += unpacker.decompress(body[at : at + _SLICE])
            if len(decoded) > DECODED_LIMIT:
                raise _too_long()
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc
    if not unpacker.eof:
        raise ValueError("it ends too early")
    if unpacker.unused_data:
        raise ValueError("something follows its end")
    return bytes(decoded)


def _too_long() -> Refused:
    return Refused(413, f"the decoded body is longer than {DECODED_LIMIT // 2**20} MiB")


def _model_of_form(body: bytes, content_type: str) -> str:
    """The one field `model` of a form (RFC 7578)."""
    form = _FORM.fullmatch(content_type)
    if form is None:
        raise Refused(400, "the form has no unambiguous boundary")
    found = [
        body[start:end].decode(errors="replace")
        for name, start, end in _fields(body, b"--" + (form[1] or form[2]).encode("latin-1"))
        if name == b"model"
    ]
    if len(found) != 1:
        raise Refused(400, f"the form has {len(found)} fields 'model', and needs one")
    return found[0]


def _fields(body: bytes, mark: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each part, and where its value begins and ends. Nothing is copied, and nothing
    may stand before, between or behind the parts: another reader could take it for the body.
    """
    if body.count(mark) > PARTS_LIMIT:
        raise Refused(413, f"the form has more than {PARTS_LIMIT} parts")
    at, delimiter = 0, b"\r\n" + mark
    while body.startswith(mark + b"\r\n", at):
        begin = at + len(mark) + 2
        head = body.find(b"\r\n\r\n", begin, begin + HEAD_LIMIT)
        end = body.find(mark, begin) - 2
        if head < 0 or end < head + 4 or not body.startswith(delimiter, end):
            raise Refused(400, _BAD_FORM)
        yield _name_of_part(body[begin:head]), head + 4, end
        at = end + 2
    if body[at:].rstrip(b"\r\n") != mark + b"--":
        raise Refused(400, _BAD_FORM)


def _name_of_part(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    named = [line for line in lines if line[:20].lower().startswith(b"content-disposition")]
    field = _FIELD.fullmatch(named[0]) if len(named) == 1 else None
    is_folded = any(line[:1] in (b" ", b"\t", b"") or b"\n" in line for line in lines)
    if field is None or is_folded:
        raise Refused(400, _BAD_FORM)
    return field[1]
