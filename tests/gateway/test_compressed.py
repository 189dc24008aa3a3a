"""Compressed bodies: what is looked at is all that a server decodes, or the body is refused."""

import gzip

import pytest
import zstandard

from ollama_admin.gateway.bodies import DECODED_LIMIT, decoded
from ollama_admin.gateway.refusals import Refused

BODY = b'{"model":"alpha","input":"hi"}'
MORE = b'{"model":"other","input":"hi"}'
PACKED = {"gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_is_decoded_whole_up_to_its_limit(encoding: str) -> None:
    for body in (BODY, bytes(DECODED_LIMIT)):
        assert decoded(PACKED[encoding](body), encoding) == body


@pytest.mark.parametrize("encoding", PACKED)
def test_what_is_cut_or_followed_by_more_is_refused(encoding: str) -> None:
    packed = PACKED[encoding](BODY)
    for body in (packed[:-1], packed[:-3], packed + PACKED[encoding](MORE), packed + b"more", b""):
        with pytest.raises(Refused) as refused:
            decoded(body, encoding)
        assert refused.value.status == 400


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_that_grows_beyond_its_limit_is_refused(encoding: str) -> None:
    for size in (DECODED_LIMIT + 1, 10 * DECODED_LIMIT):
        with pytest.raises(Refused) as refused:
            decoded(PACKED[encoding](bytes(size)), encoding)
        assert refused.value.status == 413
