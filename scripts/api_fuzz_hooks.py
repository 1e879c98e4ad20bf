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


@schemathesis.hook
def filter_case(context, case):
    """No valid body of bytes: what is signed and encoded in it is beyond a schema. The fuzzer in tests/fuzz has it."""
    generation = getattr(case.meta, "generation", None)
    positive = generation is not None and generation.mode.is_positive
    return not (positive and case.media_type == "application/octet-stream")
