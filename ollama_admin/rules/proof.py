"""What a server's own list says about the build that answered. Pure; the list itself is read
elsewhere.

An equal name proves nothing, since Ollama echoes the name that was sent, and `/api/ps` shows old
builds and dead processes. `/api/tags` is exact: it shows at once which build a name stands for, and
when it was pointed there.

| proof | holds when |
|---|---|
| digest | the name stands for the digest known before, or none was known and it did not move |
| drift | it stands for another one than the stored one, since before the request |
| changed | it was moved or removed while the model answered, or nothing tells that it was not |
| unread | the list could not be read after the answer |
| remote, name | there was nothing to read: a remote host answered; not Ollama, or not asked for |
"""

from datetime import datetime

from ollama_admin.domain.answers import Proof
from ollama_admin.domain.models import DigestChange, ListedModel
from ollama_admin.domain.values import made_often


@made_often
class Judgement:
    """`digest` is the build that answered, as far as it is known; `drift` is there when it is
    another one.
    """

    proof: Proof
    digest: str | None = None
    drift: DigestChange | None = None


def judge(
    name: str,
    *,
    known: str | None,
    before: ListedModel | None,
    after: ListedModel | None,
    started: datetime | None,
) -> Judgement:
    """What follows from the list after an answer.

    `known` is the digest stored, pinned or demanded; `before` what the list showed just before
    sending, if it was read; `after` what it shows now, None for a name that is not there any more;
    `started` when the server took the request on, by its own clock, None where it does not tell.
    """
    if after is None:
        return Judgement(proof=Proof.CHANGED)
    if after.digest is None:  # no Ollama known to us lists a name without it
        return Judgement(proof=Proof.NAME)
    listed_before = None if before is None else before.digest
    expected = known or listed_before
    stood_before = listed_before == after.digest or (
        started is not None and after.modified_at is not None and after.modified_at < started
    )
    if after.digest == expected or (expected is None and stood_before):
        return Judgement(proof=Proof.DIGEST, digest=after.digest)
    if known is not None and stood_before:
        drift = DigestChange(name=name, before=known, after=after.digest)
        return Judgement(proof=Proof.DRIFT, digest=after.digest, drift=drift)
    return Judgement(proof=Proof.CHANGED)
