"""What a server's list says about the build that answered."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.answers import Proof
from ollama_admin.domain.models import DigestChange, ListedModel
from ollama_admin.rules.proof import Judgement, judge

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEFORE, WHILE = STARTED - timedelta(hours=1), STARTED + timedelta(seconds=1)
ONE, OTHER = "1" * 64, "2" * 64


def listed(digest: str | None, modified_at: datetime | None = BEFORE) -> ListedModel:
    return ListedModel(name="alpha:latest", digest=digest, modified_at=modified_at)


def proof(
    known: str | None,
    after: ListedModel | None,
    *,
    before: ListedModel | None = None,
    started: datetime | None = STARTED,
) -> Judgement:
    return judge("alpha:latest", known=known, before=before, after=after, started=started)


def test_the_digest_known_before_is_proven() -> None:
    assert proof(ONE, listed(ONE)) == Judgement(proof=Proof.DIGEST, digest=ONE)


def test_pulling_the_same_build_again_while_it_answers_changes_nothing() -> None:
    assert proof(ONE, listed(ONE, WHILE)).proof is Proof.DIGEST


def test_a_name_moved_before_the_request_has_drifted() -> None:
    drift = DigestChange(name="alpha:latest", before=ONE, after=OTHER)
    assert proof(ONE, listed(OTHER)) == Judgement(proof=Proof.DRIFT, digest=OTHER, drift=drift)


@pytest.mark.parametrize("moved_at", [STARTED, WHILE, None])
def test_a_name_moved_while_the_model_answers_has_changed(moved_at: datetime | None) -> None:
    assert proof(ONE, listed(OTHER, moved_at)) == Judgement(proof=Proof.CHANGED)


def test_a_moved_name_has_changed_where_the_server_tells_no_times() -> None:
    assert proof(ONE, listed(OTHER), started=None).proof is Proof.CHANGED


def test_what_was_listed_before_sending_counts_where_the_server_tells_no_times() -> None:
    assert proof(None, listed(ONE), before=listed(ONE), started=None).proof is Proof.DIGEST
    assert proof(ONE, listed(OTHER), before=listed(OTHER), started=None).proof is Proof.DRIFT
    assert proof(None, listed(OTHER), before=listed(ONE), started=None).proof is Proof.CHANGED


def test_a_removed_name_has_changed() -> None:
    assert proof(ONE, None).proof is Proof.CHANGED
    assert proof(None, None).proof is Proof.CHANGED


def test_an_unknown_digest_is_proven_by_standing_still() -> None:
    assert proof(None, listed(ONE)) == Judgement(proof=Proof.DIGEST, digest=ONE)
    assert proof(None, listed(ONE, WHILE)).proof is Proof.CHANGED
    assert proof(None, listed(ONE), started=None).proof is Proof.CHANGED


def test_another_build_than_the_one_just_listed_is_not_proven_by_standing_still() -> None:
    assert proof(None, listed(OTHER), before=listed(ONE)) == Judgement(proof=Proof.CHANGED)


def test_a_list_without_digests_proves_the_name_only() -> None:
    assert proof(ONE, listed(None)) == Judgement(proof=Proof.NAME)


digests = st.sampled_from([ONE, OTHER])
times = st.sampled_from([BEFORE, STARTED, WHILE, None])
rows = st.one_of(st.none(), st.builds(listed, st.one_of(st.none(), digests), times))


@given(
    known=st.one_of(st.none(), digests),
    before=rows,
    after=rows,
    started=st.sampled_from([STARTED, None]),
)
def test_nothing_but_the_known_digest_or_one_that_stood_still_is_ever_proven(
    known: str | None,
    before: ListedModel | None,
    after: ListedModel | None,
    started: datetime | None,
) -> None:
    found = proof(known, after, before=before, started=started)
    if found.proof is Proof.DIGEST:
        assert after is not None
        assert found.digest == after.digest is not None
        assert known in (after.digest, None)
    else:
        assert after is None or after.digest != known or known is None
    assert (found.drift is not None) == (found.proof is Proof.DRIFT)
