import {
  type Bytes,
  bytesOf,
  concatBytes,
  decodeCbor,
  encodeCbor,
  hexOf,
  parse,
  type RandomSource,
  u32be,
  utf8,
} from '@millrace/base';
import { z } from 'zod';
import { maintenanceModes } from './modes.ts';
import { DESIGN_ID_BYTES, INDEX_BYTES } from './sizes.ts';

const uint = z.number().int().min(0).max(0xffff_ffff);
const index = bytesOf(INDEX_BYTES).transform((bytes): Bytes => new Uint8Array(bytes));

const laneSchema = z.strictObject({
  /** Number of the newest message. */
  number: uint,
  /** Raised whenever the lane is given to a segments node. */
  fence: uint,
  /** Whether the newest message is unanswered. */
  underWay: z.boolean(),
  /** Cells that the pending message stages. */
  planned: uint,
  /** Old places of cells up to this index are removed. The pending message removes up to `mark`. */
  prev: index,
  mark: index,
  /** Cells up to this index are in the new epoch. The pending message stages up to `upTo`. */
  from: index,
  upTo: index,
});
/** A part of the indexes of the next epoch, with its watermarks (lanes.ts). */
export type Lane = z.output<typeof laneSchema>;

const sweepSchema = z.strictObject({
  /** Target epoch of the sweep. */
  to: uint,
  /** In ascending order of their indexes: one, or more if several segments nodes share the cells. */
  lanes: z.array(laneSchema).refine(({ length }) => 256 % length === 0, 'expected a power of two'),
});
export type Sweep = z.output<typeof sweepSchema>;

const stateSchema = z.strictObject({
  v: z.literal(1),
  epoch: uint,
  /** Percent of real cells, and minimum number of decoys. */
  density: z.number().int().min(0).max(100),
  minimumDecoys: uint,
  sweep: sweepSchema.optional(),
});
/** The state of the storage live matrix, in one record. */
export type VaultState = z.output<typeof stateSchema>;

const holdingSchema = z.strictObject({
  v: z.literal(1),
  id: bytesOf(DESIGN_ID_BYTES).transform((bytes): Bytes => new Uint8Array(bytes)),
  decoys: z.boolean(),
  /** Random. Distinguishes these cells from earlier cells with the same names. */
  generation: uint,
  /** Intended number of cells. */
  segments: uint,
  /** Cells below this number are stored. */
  stored: uint,
  /** Cells from `stored` to this number may be stored. */
  instructed: uint,
  /** Slot of the design KEK; 0 for decoys, which have no KEK. */
  slot: uint,
  /** The owner's public key as given; empty for decoys. */
  owner: z.instanceof(Uint8Array).transform((bytes): Bytes => new Uint8Array(bytes)),
  /** The owner's organisation; absent for a key alone, and for decoys. */
  organisation: hexOf(16).optional(),
  deleted: z.boolean(),
  /** How the cells are renewed. Default: `rekey`. */
  mode: z.enum(maintenanceModes).optional(),
  /** The mode from the next sweep on, and when (ms) the owner signed the newest request. */
  nextMode: z.enum(maintenanceModes).optional(),
  modeIssued: z.number().int().nonnegative().optional(),
  /** Decoys only: their wrapped seed. */
  seed: z
    .instanceof(Uint8Array)
    .transform((bytes): Bytes => new Uint8Array(bytes))
    .optional(),
  /** Sweeps drop cells from this number on. They are cut off when a sweep to epoch `retireTo` or later ends. */
  retire: uint.optional(),
  retireTo: uint.optional(),
});
/** An owner of cells: a design, or the decoys as one pseudo design. */
export type Holding = z.output<typeof holdingSchema>;

export const STATE_KEY = utf8('state');

export const holdingKey = (id: Uint8Array): Bytes => concatBytes(utf8('d'), id);
export const manifestKey = (id: Uint8Array): Bytes => concatBytes(utf8('m'), id);
export const contentKeysKey = (id: Uint8Array, chunk: number): Bytes => concatBytes(utf8('c'), id, u32be(chunk));
export const HOLDINGS = { gte: utf8('d'), lt: utf8('e') };

export const encodeState = (state: VaultState): Bytes => encodeCbor(state as never);
export const encodeHolding = (holding: Holding): Bytes => encodeCbor(holding as never);

/** @throws {MillraceError} E_STORE */
export function decodeState(bytes: Uint8Array): VaultState {
  return parse(stateSchema, decodeCbor(bytes, 'vault state', 'E_STORE'), 'vault state', 'E_STORE');
}

/** @throws {MillraceError} E_STORE */
export function decodeHolding(bytes: Uint8Array): Holding {
  return parse(holdingSchema, decodeCbor(bytes, 'playbook entry', 'E_STORE'), 'playbook entry', 'E_STORE');
}

/** A holding without cells. */
export function emptyHolding(id: Bytes, random: RandomSource): Holding {
  const owner = new Uint8Array();
  const generation = randomU32(random);
  return { v: 1, id, decoys: false, generation, segments: 0, stored: 0, instructed: 0, slot: 0, owner, deleted: false };
}

export function randomU32(random: RandomSource): number {
  return new DataView(random(4).buffer).getUint32(0);
}
