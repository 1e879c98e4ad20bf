import { type Bytes, decodeCbor, MillraceError, parse, utf8 } from '@millrace/base';
import { z } from 'zod';
import { type BodyValue, encodeCheckedEvent } from './event-encoding.ts';
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
  .refine((text) => !/[\p{Cc}\p{Surrogate}]/u.test(text) && fits(text), {
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
  return encodeRequested(parse(eventSchema, event, 'event'));
}

/**
 * Like `encodeEvent`, for an event whose request was validated by the schema.
 * @throws {MillraceError} E_TOO_LARGE above 65,535 bytes
 */
export function encodeRequested(event: LedgerEvent): Bytes {
  const bytes = encodeCheckedEvent(event);
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

/** A UTF-16 unit has at most 3 bytes in UTF-8, so most labels are known to be short enough without encoding them. */
function fits(label: string): boolean {
  return 3 * label.length <= MAX_LABEL || utf8(label).length <= MAX_LABEL;
}

function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function isBodyValue(value: unknown, depth: number): boolean {
  if (value === null || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isSafeInteger(value);
  if (typeof value === 'string') return isText(value);
  if (value instanceof Uint8Array) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) return Array.from(value).every((item) => isBodyValue(item, depth - 1));
  return isMap(value) && Object.entries(value).every(([key, item]) => isText(key) && isBodyValue(item, depth - 1));
}

function isText(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
