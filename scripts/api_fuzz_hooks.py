"""Hooks of Schemathesis for scripts/api-fuzz.mjs."""

import schemathesis


@schemathesis.hook
def map_case(context, case):
    """Valid requests have no cursor and no idempotency key: what a schema cannot say is that a cursor comes from the
    page before, and that a key belongs to one request. packages/cloud/test/api.test.ts follows both."""
    generation = getattr(case.meta, "generation", None)
    if generation is not None and generation.mode.is_positive:
        if case.query:
            case.query.pop("cursor", None)
        if case.headers:
            case.headers.pop("idempotency-key", None)
    return case
