import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.digests import digest_prefix, short
from ollama_admin.errors import InvalidInput

DIGEST = "a2af6cc3eb7fa8be8504abaf9b04e88f17a119ec3f04a3addf55f92841195f5a"


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        (DIGEST, DIGEST),
        (DIGEST.upper(), DIGEST),
        (f"sha256:{DIGEST}", DIGEST),
        (f"SHA256:{DIGEST[:12]}", DIGEST[:12]),
        (f"sha256-{DIGEST[:13]}", DIGEST[:13]),  # as Ollama's blobs are called
        (DIGEST[:12], DIGEST[:12]),
    ],
)
def test_digest_is_read_with_or_without_its_algorithm_in_either_case(
    text: str, prefix: str
) -> None:
    assert digest_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "sha256:",
            DIGEST[:11],
            f"sha256:{DIGEST[:11]}",
            f"{DIGEST}0",
            "g" * 12,
            f" {DIGEST}",
            f"{DIGEST}\n",
        ),
        *(
            f"sha512:{DIGEST}",
            f"sha256:sha256:{DIGEST}",
            "\u0661" * 12,
            f"{DIGEST[:11]}\x00",
            "latest",
        ),
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not 12 to 64 hex digits"):
        digest_prefix(text)


@given(st.text())
def test_a_prefix_is_hex_digits_or_an_error(text: str) -> None:
    try:
        prefix = digest_prefix(text)
    except InvalidInput as exc:
        assert exc.message.isascii()  # noqa: PT017
    else:
        assert 12 <= len(prefix) <= 64
        assert set(prefix) <= set("0123456789abcdef")


def test_digest_is_shown_by_its_first_twelve_digits() -> None:
    assert (short(DIGEST), short(None)) == (DIGEST[:12], "-")
