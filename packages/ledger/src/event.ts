import { type Bytes, copyBytes, decodeCbor, MillraceError, parse, utf8 } from '@millrace/base';
import { z } from 'zod';
import { type BodyValue, EventEncoder } from './event-encoding.ts';
import { HASH_LENGTH } from './tree.ts';

export const EVENT_VERSION = 1;

/** Maximum length of an encoded event, bytes. */
export const MAX_EVENT_LENGTH = 65_535;

/** Types of events of an object, licence, design, machine or spool. */
export const eventTypes = [
  'ordered',
  'licensed',
  'permitted',
  'started',
  'progressed',
  'alarmed',
  'completed',
  'failed',
  'credited',
  'inspected',
  'transferred',
  'retired',
  'stored',
  'machine',
  'material',
  'mapped',
] as const;

export type EventType = (typeof eventTypes)[number];

/** Facts of an event. */
export type EventBody = { readonly [key: string]: BodyValue };

const MAX_LABEL = 256;
/** Maximum number of documents behind one event. */
const MAX_EVIDENCE = 8;
const MAX_DEPTH = 8;

/** Names of accounts, actors and events: 1 to 256 UTF-8 bytes, no control characters. */
const label = z
  .string()
  .min(1)
  .refine(isLabel, {
    error: `expected at most ${MAX_LABEL} bytes of text without control characters`,
  });

const body = z.custom<EventBody>((value) => isMap(value) && isBodyValue(value, MAX_DEPTH), {
  error: `expected a map of text, whole numbers, booleans, null, bytes, lists and maps, at most ${MAX_DEPTH} deep`,
});

const someBytes = z.instanceof(Uint8Array).refine((bytes) => bytes.length > 0, { error: 'expected bytes' });

const hash = z
  .instanceof(Uint8Array)
  .refine((bytes) => bytes.length === HASH_LENGTH, { error: `expected ${HASH_LENGTH} bytes` });

const requestFields = {
  account: label,
  type: z.enum(eventTypes),
  actor: label,
  body,
  /**
   * Signed documents behind the event, not checked here. They contain no keys: a key delivered with a signature proves
   * nothing.
   */
  evidence: z.array(someBytes).min(1).max(MAX_EVIDENCE).exactOptional(),
};

export const eventRequestSchema = z.strictObject({ ...requestFields, eventId: label });

/** An event to record. Requests with the same `eventId` are recorded once. */
export type EventRequest = z.output<typeof eventRequestSchema>;

const requestKeys = new Set<string>(Object.keys(eventRequestSchema.shape));
const types = new Set<string>(eventTypes);

/**
 * Requires what `eventRequestSchema` requires. Valid requests are recognised without the schema, which takes as long as
 * the rest of an append. `test/event.test.ts` compares both.
 * @throws {MillraceError} E_INPUT with the wrong field
 */
export function requireEventRequest(request: EventRequest): void {
  if (!isEventRequest(request)) parse(eventRequestSchema, request, 'event');
}

/** @internal */
export function isEventRequest(request: unknown): request is EventRequest {
  if (!isMap(request)) return false;
  for (const key of Object.keys(request)) if (!requestKeys.has(key)) return false;
  const { account, type, actor, body, eventId, evidence } = request;
  return (
    isLabel(account) &&
    isLabel(actor) &&
    isLabel(eventId) &&
    types.has(type as string) &&
    isMap(body) &&
    isBodyValue(body, MAX_DEPTH) &&
    (evidence === undefined ? !('evidence' in request) : isEvidence(evidence))
  );
}

function isEvidence(value: unknown): boolean {
  if (!Array.isArray(value) || value.length < 1 || value.length > MAX_EVIDENCE) return false;
  for (let i = 0; i < value.length; i++) if (!(value[i] instanceof Uint8Array && value[i].length > 0)) return false;
  return true;
}

export const eventSchema = z
  .strictObject({
    ...requestFields,
    v: z.literal(EVENT_VERSION),
    id: label,
    /** 0 for the first event of the account. */
    sequence: z.int().min(0),
    /** Leaf hash of the account's previous event; null for the first. */
    previous: hash.nullable(),
    /** Milliseconds since 1970 by the ledger's clock. */
    time: z.int().min(0),
  })
  .refine((event) => (event.sequence === 0) === (event.previous === null), {
    error: 'null for the first event of an account, and for no other',
    path: ['previous'],
  });

/** The content to which an entry of the log commits. */
export type LedgerEvent = z.output<typeof eventSchema>;

/** @throws {MillraceError} E_INPUT with the wrong field, E_TOO_LARGE above 65,535 bytes */
export function encodeEvent(event: LedgerEvent): Bytes {
  return copyBytes(encodeRequested(parse(eventSchema, event, 'event'), new EventEncoder()));
}

/**
 * Like `encodeEvent`, for an event whose request was validated.
 * @returns a view that is valid until the next call with this encoder
 * @throws {MillraceError} E_TOO_LARGE above 65,535 bytes
 */
export function encodeRequested(event: LedgerEvent, encoder: EventEncoder): Bytes {
  const bytes = encoder.encode(event);
  if (bytes.length > MAX_EVENT_LENGTH) {
    throw new MillraceError('E_TOO_LARGE', `the event has ${bytes.length} bytes; at most ${MAX_EVENT_LENGTH} fit`, {
      data: { bytes: bytes.length, limit: MAX_EVENT_LENGTH },
    });
  }
  return bytes;
}

/**
 * Checks that the log can hold the event, whatever the state of its account. Call it before any other effect of the
 * event.
 * @throws {MillraceError} E_INPUT, E_TOO_LARGE
 */
export function requireRecordable(request: EventRequest): void {
  const { eventId: id, ...fields } = request;
  const previous = new Uint8Array(HASH_LENGTH);
  const sequence = Number.MAX_SAFE_INTEGER;
  encodeEvent({ ...fields, v: EVENT_VERSION, id, sequence, previous, time: sequence });
}

/** @throws {MillraceError} E_LEDGER_ENTRY unless the bytes are exactly one event in its canonical encoding */
export function decodeEvent(bytes: Uint8Array, what = 'event'): LedgerEvent {
  if (bytes.length > MAX_EVENT_LENGTH)
    throw new MillraceError('E_LEDGER_ENTRY', `${what}: longer than an event can be`);
  return parse(eventSchema, decodeCbor(bytes, what, 'E_LEDGER_ENTRY'), what, 'E_LEDGER_ENTRY');
}

function isLabel(value: unknown): value is string {
  if (typeof value !== 'string' || value.length === 0 || value.length > MAX_LABEL) return false;
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code < 0x20 || code >= 0x7f) return !/[\p{Cc}\p{Surrogate}]/u.test(value) && utf8(value).length <= MAX_LABEL;
  }
  return true;
}

function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function isBodyValue(value: unknown, depth: number): boolean {
  if (typeof value === 'string') return isText(value);
  if (typeof value === 'number') return Number.isSafeInteger(value);
  if (value === null || typeof value === 'boolean' || value instanceof Uint8Array) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) {
    // By index, so that holes count as values.
    for (let i = 0; i < value.length; i++) if (!isBodyValue(value[i], depth - 1)) return false;
    return true;
  }
  if (!isMap(value)) return false;
  for (const key of Object.keys(value)) if (!isText(key) || !isBodyValue(value[key], depth - 1)) return false;
  return true;
}

/** Whether the text has a UTF-8 encoding. */
function isText(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) >= 0xd800) return !/\p{Surrogate}/u.test(text);
  }
  return true;
}
