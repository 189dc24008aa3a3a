"""Changes that once left every test green. Each must be noticed by the tests that stand beside it,
which `make test` runs.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """In a module of the package the text `was`, which stands there once, becomes another one;
    `tests` are files or tests below `tests/`.
    """

    what: str
    module: str
    was: str
    becomes: str
    tests: tuple[str, ...]


TRUNCATED = (
    "services/test_generate_stream.py"
    "::test_a_cut_prompt_is_noticed_however_the_old_server_was_found"
)
MULTIPLIED = (
    "legacy/test_envfile.py::test_filled_values_have_four_million_characters_together_and_no_more"
)
NAMED = (
    Named(
        what="a slot that was lost before sending is sent under",
        module="services/dispatch.py",
        was="raise _LeaseLostError",
        becomes="pass",
        tests=("services/test_generate_slots.py",),
    ),
    Named(
        what="a lease has no owner, so that it is not renewed while pieces come",
        module="services/slots.py",
        was="lease.owner = asyncio.current_task()",
        becomes="pass",
        tests=("services/test_slots.py::test_lease_is_renewed_while_its_task_lives_and_no_longer",),
    ),
    Named(
        what="no safety margin before the end of a lease",
        module="services/leases.py",
        was="sent + times.ttl - times.margin",
        becomes="sent + times.ttl",
        tests=(
            "services/test_slots.py::test_lease_is_trusted_until_its_margin_and_over_at_its_end",
        ),
    ),
    Named(
        what="no safety margin before the end of a renewed lease",
        module="services/leases.py",
        was="self.renewed + self.times.ttl - self.times.margin",
        becomes="self.renewed + self.times.ttl",
        tests=("services/test_slots.py::test_renewed_lease_is_trusted_until_its_margin_again",),
    ),
    Named(
        what="no thread is kept for renewals",
        module="services/grants.py",
        was="asyncio.Semaphore(LEASE_THREADS - 1)",
        becomes="asyncio.Semaphore(LEASE_THREADS)",
        tests=("services/test_slots.py::test_renewals_go_on_while_others_wait_for_the_database",),
    ),
    Named(
        what="a remote model fails over",
        module="services/selection.py",
        was="if first.is_remote or first.stored_digest is None:",
        becomes="if first.stored_digest is None:",
        tests=(
            "services/test_generate_choice.py::test_nobody_stands_in_for_a_model_that_became_remote",
        ),
    ),
    Named(
        what="the version of a server that was checked is forgotten",
        module="rules/candidates.py",
        was="version=server.version,",
        becomes="version=None,",
        tests=(TRUNCATED,),
    ),
    Named(
        what="the version of a server that is asked for its list is forgotten",
        module="services/selection.py",
        was="is_ollama, version = server.is_ollama, server.version",
        becomes="is_ollama, version = server.is_ollama, None",
        tests=(TRUNCATED,),
    ),
    Named(
        what="thinking does not count towards the limit of an answer",
        module="rules/answers.py",
        was="kept_size(event.response, event.thinking, event.tool_calls)",
        becomes="kept_size(event.response, event.tool_calls)",
        tests=(
            "rules/test_answers.py::test_text_and_thinking_have_four_mebibytes_together_and_no_more",
        ),
    ),
    Named(
        what="references of a .env file multiply without bound",
        module="legacy/envfile.py",
        was="self.room -= len(filled)",
        becomes="pass",
        tests=(MULTIPLIED,),
    ),
    Named(
        what="verdicts stand in the order of the rows",
        module="rules/routing.py",
        was="sorted(servers, key=preference)",
        becomes="servers",
        tests=(
            "rules/test_routing.py::test_the_default_comes_first_then_the_higher_priority_then_the_older_row",
        ),
    ),
    Named(
        what="an inactive default server answers",
        module="services/catalogue.py",
        was="if not chosen.is_active:",
        becomes="if False:",
        tests=(
            "services/test_catalogue.py::test_an_inactive_default_server_is_stood_in_for_by_nobody",
        ),
    ),
)
