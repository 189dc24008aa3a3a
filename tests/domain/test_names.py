"""Which names are accepted, and which of them are one name."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_admin.domain.names import (
    RegistryName,
    is_cloud_name,
    model_key,
    model_name,
    server_key,
    server_name,
    short_model_name,
    without_cloud,
)
from ollama_admin.errors import InvalidInput


@pytest.mark.parametrize(
    "name",
    [
        "gpu-1",
        "Server 1 - General/Reasoning",
        "a",
        "../x",
        "büro",
        "серверная",
        "🚀 fast",
        "1a",
        "a" * 100,
        "[bold]x[/bold]",
        "x=1;y",
    ],
)
def test_a_printable_name_is_a_server_name(name: str) -> None:
    assert server_name(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "is empty"),
        ("a" * 101, "longer than 100"),
        (" a", "begins or ends with a space"),
        ("a ", "begins or ends with a space"),
        ("-a", "begins with '-'"),
        ("12", "all digits"),
        ("٣٤", "all digits"),
        ("a\x00", "cannot be printed"),
        ("\x1b[31mred", "cannot be printed"),
        ("a\nb", "cannot be printed"),
        ("a\u202eb", "cannot be printed"),
        ("a\u2028b", "cannot be printed"),
        ("a\u200bb", "cannot be printed"),
        ("a\u00a0b", "cannot be printed"),
        ("a\ud800", "cannot be printed"),
        ("\ufeffa", "cannot be printed"),
    ],
)
def test_a_refused_server_name_tells_the_rule_and_nothing_unprintable(name: str, rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        server_name(name)
    assert rule in caught.value.message
    assert caught.value.message.isprintable()


def test_a_server_name_is_kept_in_its_composed_form() -> None:
    assert server_name("bu\u0308ro") == "büro"
    assert len(server_name("u\u0308" * 100)) == 100


@given(st.text(max_size=120))
@example("\u1fef" * 3)
@example("²")
def test_no_server_name_outside_the_rules_is_ever_accepted(text: str) -> None:
    try:
        name = server_name(text)
    except InvalidInput:
        return
    assert 1 <= len(name) <= 100
    assert unicodedata.is_normalized("NFC", name)
    assert name == name.strip()
    assert name[0] != "-"
    assert not name.isdecimal()
    assert not any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name
    )
    assert server_name(name) == name


@given(st.text(max_size=30))
@example("ŉ")
@example("ΐ")
@example("İ")
@example("ᾳ\u0301")
@example("\u1e9e")
def test_spellings_that_differ_by_form_or_case_have_one_server_key(text: str) -> None:
    key = server_key(text)
    assert server_key(unicodedata.normalize("NFC", text)) == key
    assert server_key(unicodedata.normalize("NFD", text)) == key
    assert server_key(unicodedata.normalize("NFC", text).casefold()) == key
    assert server_key(key) == key


@given(st.text(max_size=3), st.text(max_size=3))
@example("GPU", "gpu")
@example("STRASSE", "straße")
@example("Å", "\u212b")
def test_two_server_names_share_a_key_exactly_when_they_are_equal_after_folding(
    one: str, other: str
) -> None:
    def fold(text: str) -> str:
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())

    assert (server_key(one) == server_key(other)) == (fold(one) == fold(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("Llama3.2", "LLAMA3.2:Latest"),
        ("llama3.2", "library/llama3.2"),
        ("llama3.2:3b", "registry.ollama.ai/library/llama3.2:3B"),
        ("user/m", "registry.ollama.ai/user/m:latest"),
        ("hf.co/user/Repo:Q4_K_M", "HF.co/user/repo:q4_k_m"),
        ("host:5000/ns/m", "host:5000/ns/m:latest"),
        ("m:", "m"),
    ],
)
def test_names_that_ollama_takes_for_one_have_one_key(one: str, other: str) -> None:
    assert model_key(one) == model_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("m", "m:8b"),
        ("m", "user/m"),
        ("user/m", "hf.co/user/m"),
        ("host:5000/ns/m", "host:5001/ns/m"),
        ("m:8b", "m:8b-cloud"),
        ("library/library/m", "library/m"),
    ],
)
def test_names_that_ollama_tells_apart_have_two_keys(one: str, other: str) -> None:
    assert model_key(one) != model_key(other)


PART = st.text("abAB09_-.", min_size=1, max_size=6) | st.sampled_from(
    ["library", "registry.ollama.ai", "latest"]
)


@given(st.lists(PART, min_size=1, max_size=3), st.none() | PART)
@example(["library", "library", "m"], None)
def test_a_short_name_means_what_its_key_means(parts: list[str], tag: str | None) -> None:
    name = "/".join(parts) + (f":{tag}" if tag else "")
    key = model_key(name)
    assert model_key(short_model_name(key)) == key == model_key(key)
    assert model_key(name.swapcase()) == key
    assert ":" in short_model_name(key)


@pytest.mark.parametrize(
    ("key", "short"),
    [
        ("registry.ollama.ai/library/m:latest", "m:latest"),
        ("registry.ollama.ai/user/m:8b", "user/m:8b"),
        ("hf.co/library/m:latest", "hf.co/library/m:latest"),
        ("library/library/m:latest", "library/library/m:latest"),
    ],
)
def test_only_the_default_host_and_namespace_are_left_out(key: str, short: str) -> None:
    assert short_model_name(key) == short


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("gpt-oss:120b-cloud", "gpt-oss:120b"),
        ("m:cloud", "m"),
        ("user/m:CLOUD", "user/m"),
        ("m:x-Cloud", "m:x"),
    ],
)
def test_a_cloud_name_is_known_by_its_tag(name: str, base: str) -> None:
    assert is_cloud_name(name)
    assert without_cloud(name) == base


@pytest.mark.parametrize(
    "name", ["cloud", "m-cloud", "cloud/m", "m:cloudy", "m:8b", "cloud:5000/ns/m", "m:cloud-8b"]
)
def test_cloud_elsewhere_in_a_name_means_nothing(name: str) -> None:
    assert not is_cloud_name(name)


@pytest.mark.parametrize(
    "name", ["", "  ", "a" * 501, " m", "m\n", "m\x00", "m\x1b[0m", "m\u202e", "m\ud800"]
)
def test_a_model_name_that_cannot_be_sent_as_it_is_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        model_name(name)
    assert caught.value.message.isprintable()


@given(st.text(min_size=1, max_size=60))
def test_a_model_name_is_never_changed(text: str) -> None:
    try:
        accepted = model_name(text)
    except InvalidInput:
        assert text != text.strip() or not text.isprintable()
        return
    assert accepted == text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("name", "host", "repository", "tag"),
    [
        ("llama3.2", "registry.ollama.ai", "library/llama3.2", "latest"),
        ("team/Mine:V1", "registry.ollama.ai", "team/Mine", "V1"),
        ("hf.co/Org/Model-GGUF:Q4_K_M", "hf.co", "Org/Model-GGUF", "Q4_K_M"),
        ("Registry.Example:5000/team/mine", "registry.example:5000", "team/mine", "latest"),
        ("localhost:5000/library/a:b", "localhost:5000", "library/a", "b"),
    ],
)
def test_a_registry_has_a_name_in_its_own_spelling(
    name: str, host: str, repository: str, tag: str
) -> None:
    expected = RegistryName(host=host, repository=repository, tag=tag)
    assert RegistryName.parse(name) == expected


@pytest.mark.parametrize(
    "name", ["../a", "a/../b", "a b", "a:b?c", "a/b/c/d", "/a", "a//b", "%2e/a"]
)
def test_a_name_that_leads_elsewhere_is_in_no_registry(name: str) -> None:
    with pytest.raises(InvalidInput, match="no registry can have"):
        RegistryName.parse(name)
