import { type Bytes, bytesOf, copyBytes, decodeCbor, encodeCbor, parse, wipe } from '@millrace/base';
import { z } from 'zod';
import { type Layout, Packed, pack, type RecordOf, recordLength, unpack } from './packed.ts';
import { DESIGN_ID_BYTES, HASH_BYTES, INDEX_BYTES, KEY_BYTES, SEGMENT_BYTES } from './sizes.ts';

/** Maximum cells in one message of storing or checking. */
export const MAX_CELLS = 256;
/**
 * Maximum cells staged by one message of a sweep: 67 MB of cells, half a megabyte of message. Large, because most of a
 * message's overhead is constant.
 */
export const MAX_MOVED = 4096;
/** Maximum of these in mode `delta`, whose masks are as long as the cells: a message of 4 MB. */
export const MAX_MASKED = 256;
/** Maximum of these under layers of points. A step takes 8, so that it is answered within seconds. */
export const MAX_POINTS = 64;
/** Maximum extra cells named in one part of a check. The next run reports the rest. */
export const MAX_CHECKED = 4096;
/** The cell may be absent: its storing was not confirmed. */
export const MAY_BE_ABSENT = 1;

const placed = { index: INDEX_BYTES, key: KEY_BYTES, epoch: 'u32' } as const satisfies Layout;
const indexed = { index: INDEX_BYTES } as const satisfies Layout;
/** The records of a `maintain` message. */
export const MAINTAIN = {
  items: { oldIndex: INDEX_BYTES, newIndex: INDEX_BYTES, oldKey: KEY_BYTES, newKey: KEY_BYTES, flags: 'u8' },
  /** Mode `delta`: the XOR of the two keystreams instead of the keys. */
  masked: { oldIndex: INDEX_BYTES, newIndex: INDEX_BYTES, flags: 'u8', mask: SEGMENT_BYTES },
  /** Mode `key-homomorphic`: the difference of two keys, and the label from which the cell's H are derived. */
  points: { oldIndex: INDEX_BYTES, newIndex: INDEX_BYTES, flags: 'u8', token: KEY_BYTES, label: KEY_BYTES },
  forget: indexed,
} as const satisfies Record<string, Layout>;
const seeded = { seed: KEY_BYTES } as const satisfies Layout;
const labelled = { label: KEY_BYTES } as const satisfies Layout;
const expected = { index: INDEX_BYTES, epoch: 'u32', flags: 'u8' } as const satisfies Layout;
const expectedDeep = { ...expected, key: KEY_BYTES, hash: HASH_BYTES, label: KEY_BYTES } as const satisfies Layout;

export type PlacedCell = RecordOf<typeof placed>;
export type MovedCells = Packed<typeof MAINTAIN.items>;
export type MaskedCells = Packed<typeof MAINTAIN.masked>;
export type PointsCells = Packed<typeof MAINTAIN.points>;
/** An expected cell under its key: AES-256-CTR, or points if there is a label. */
type Deep = Pick<RecordOf<typeof expectedDeep>, 'key' | 'hash'> & { readonly label?: Bytes };
export type ExpectedCell = RecordOf<typeof expected> & Partial<Deep>;

const uint = z.number().int().min(0).max(0xffff_ffff);
const design = bytesOf(DESIGN_ID_BYTES);
const count = z.number().int().min(1).max(MAX_CELLS);

function wire<L extends Layout>(layout: L, max: number) {
  const each = recordLength(layout);
  return z.instanceof(Uint8Array).refine((bytes) => bytes.length % each === 0 && bytes.length <= max * each, {
    error: `expected at most ${max} records of ${each} bytes`,
  });
}

const unpacked = <L extends Layout>(layout: L, max = MAX_CELLS) =>
  wire(layout, max).transform((bytes) => unpack(layout, bytes));

/** Keeps records as received, without another copy. */
const packed = <L extends Layout>(layout: L, max: number) =>
  wire(layout, max).transform((bytes) => new Packed(layout, plain(bytes)));

/** Copies a Buffer, whose memory may be shared. */
function plain(bytes: Uint8Array): Bytes {
  return Buffer.isBuffer(bytes) || !(bytes.buffer instanceof ArrayBuffer) ? copyBytes(bytes) : (bytes as Bytes);
}

const wantSchema = z.strictObject({ type: z.literal('want'), design, from: uint, count });
const storeSchema = z
  .strictObject({
    type: z.literal('store'),
    design,
    generation: uint,
    from: uint,
    decoys: z.boolean(),
    cells: unpacked(placed),
    /** Seeds of decoys. Empty for a design. */
    seeds: unpacked(seeded).transform((records) => records.map(({ seed }) => seed)),
    /** One label per cell under a layer of points. Empty for other cells. */
    labels: unpacked(labelled).transform((records) => records.map(({ label }) => label)),
  })
  .refine(({ cells, labels }) => labels.length === 0 || labels.length === cells.length, 'one label a cell, or none');
const storedSchema = z.strictObject({
  type: z.literal('stored'),
  design,
  generation: uint,
  from: uint,
  count,
});
const recordedSchema = z.strictObject({
  type: z.literal('recorded'),
  design,
  generation: uint,
  from: uint,
  count,
});
const refusedSchema = z.strictObject({
  type: z.literal('refused'),
  design,
  from: uint,
  code: z.string().max(40),
  reason: z.string().max(1000),
});
const indexes = (max: number) => unpacked(indexed, max).transform((records) => records.map(({ index }) => index));
const laneNumber = z.number().int().min(0).max(255);
const cellCount = z
  .number()
  .int()
  .min(0)
  .max(MAX_MOVED + MAX_MASKED + MAX_POINTS);
const maintainSchema = z.strictObject({
  type: z.literal('maintain'),
  to: uint,
  lane: laneNumber,
  number: uint,
  fence: uint,
  items: packed(MAINTAIN.items, MAX_MOVED),
  masked: packed(MAINTAIN.masked, MAX_MASKED),
  points: packed(MAINTAIN.points, MAX_POINTS),
  forget: packed(MAINTAIN.forget, 2 * MAX_MOVED),
});
const maintainedSchema = z.strictObject({
  type: z.literal('maintained'),
  to: uint,
  lane: laneNumber,
  number: uint,
  fence: uint,
  /** Cells of the message that are in the new epoch, and cells that may be absent and are. */
  staged: cellCount,
  absent: cellCount,
  missing: indexes(MAX_MOVED),
  damaged: indexes(MAX_MOVED),
  /** Time of one core, ms, including waits for the disk. */
  work: uint,
});
const checkSchema = z
  .strictObject({
    type: z.literal('check'),
    check: bytesOf(16),
    part: uint,
    last: z.boolean(),
    deep: z.boolean(),
    /** Cells of earlier epochs are no finding: the next sweep drops them. */
    oldest: uint,
    after: bytesOf(INDEX_BYTES),
    upto: bytesOf(INDEX_BYTES),
    cells: z.instanceof(Uint8Array),
  })
  .transform((message) => ({ ...message, cells: unpackExpected(message.deep, message.cells) }));
const checkedSchema = z.strictObject({
  type: z.literal('checked'),
  check: bytesOf(16),
  part: uint,
  missing: indexes(MAX_CHECKED),
  extra: indexes(MAX_CHECKED),
  damaged: indexes(MAX_CHECKED),
});

export type WantMessage = z.output<typeof wantSchema>;
export type StoreMessage = z.output<typeof storeSchema>;
export type StoredMessage = z.output<typeof storedSchema>;
export type RecordedMessage = z.output<typeof recordedSchema>;
export type RefusedMessage = z.output<typeof refusedSchema>;
export type MaintainMessage = z.output<typeof maintainSchema>;
export type MaintainedMessage = z.output<typeof maintainedSchema>;
export type CheckMessage = z.output<typeof checkSchema>;
export type CheckedMessage = z.output<typeof checkedSchema>;

const messageSchema = z.union([
  wantSchema,
  storeSchema,
  storedSchema,
  recordedSchema,
  refusedSchema,
  maintainSchema,
  maintainedSchema,
  checkSchema,
  checkedSchema,
]);
/** Messages between keys and segments nodes about cells (spec/vault.md, section 5). */
export type VaultMessage = z.output<typeof messageSchema>;

const schemas = {
  want: wantSchema,
  store: storeSchema,
  stored: storedSchema,
  recorded: recordedSchema,
  refused: refusedSchema,
  maintain: maintainSchema,
  maintained: maintainedSchema,
  check: checkSchema,
  checked: checkedSchema,
} as const;

export function encodeMessage(message: VaultMessage): Bytes {
  return encodeCbor(toWire(message) as never);
}

/** @throws {MillraceError} E_INPUT */
export function decodeMessage(bytes: Uint8Array): VaultMessage {
  const value = decodeCbor(bytes, 'vault message');
  const type = typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined;
  const known =
    typeof type === 'string' && Object.hasOwn(schemas, type) ? schemas[type as keyof typeof schemas] : messageSchema;
  return parse<z.ZodType<VaultMessage>>(known, value, 'vault message');
}

/** Overwrites the outer keys in a message. Call it after sending or applying the message. */
export function wipeMessage(message: VaultMessage): void {
  if (message.type === 'store') wipe(...message.cells.map(({ key }) => key), ...message.seeds);
  if (message.type === 'maintain') wipe(message.items.bytes, message.masked.bytes, message.points.bytes);
  if (message.type === 'check') for (const { key } of message.cells) wipe(key);
}

function toWire(message: VaultMessage): object {
  const asIndexes = (list: readonly Bytes[]) =>
    pack(
      indexed,
      list.map((index) => ({ index })),
    );
  switch (message.type) {
    case 'store':
      return {
        ...message,
        cells: pack(placed, message.cells),
        seeds: pack(
          seeded,
          message.seeds.map((seed) => ({ seed })),
        ),
        labels: pack(
          labelled,
          message.labels.map((label) => ({ label })),
        ),
      };
    case 'maintain':
      return {
        ...message,
        items: message.items.bytes,
        masked: message.masked.bytes,
        points: message.points.bytes,
        forget: message.forget.bytes,
      };
    case 'maintained':
      return { ...message, missing: asIndexes(message.missing), damaged: asIndexes(message.damaged) };
    case 'check':
      return { ...message, cells: packExpected(message.deep, message.cells) };
    case 'checked':
      return {
        ...message,
        missing: asIndexes(message.missing),
        extra: asIndexes(message.extra),
        damaged: asIndexes(message.damaged),
      };
    default:
      return message;
  }
}

function packExpected(deep: boolean, cells: readonly ExpectedCell[]): Bytes {
  if (!deep) return pack(expected, cells);
  // An unconfirmed cell has a hash of zeros. Only its length and epoch are checked.
  const blank = new Uint8Array(KEY_BYTES);
  return pack(
    expectedDeep,
    cells.map((cell) => ({ ...cell, key: cell.key ?? blank, hash: cell.hash ?? blank, label: cell.label ?? blank })),
  );
}

function unpackExpected(deep: boolean, bytes: Uint8Array): ExpectedCell[] {
  if (!deep) return unpack(expected, bytes);
  return unpack(expectedDeep, bytes).map(({ label, key, hash, ...cell }) => {
    if (hash.every((byte) => byte === 0)) return cell;
    return { ...cell, key, hash, ...(label.some((byte) => byte !== 0) && { label }) };
  });
}
