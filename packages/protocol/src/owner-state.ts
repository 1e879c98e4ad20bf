import { type Bytes, concatBytes, decodeCbor, encodeCbor, fromHex, MillraceError, parse, utf8 } from '@millrace/base';
import { createNumberedSealing, type NumberedSealing, openNumbered, type P256Key } from '@millrace/identity';
import { z } from 'zod';

const uint = z.number().int().nonnegative();

export const ownerStateSchema = z.strictObject({
  /** Time by the machine's clock, ms since 1970. */
  time: uint,
  /** Executed bytes of the design. */
  bytes: uint,
  /** Last executed line, counted from 1. */
  line: uint.optional(),
  layer: z.number().int().optional(),
  /** Position in mm, to the hundredth. */
  position: z.tuple([z.number(), z.number(), z.number()]).optional(),
  /** Filament used for this object, mm. */
  filament: z.number().nonnegative().optional(),
  /** Reason of a failure, in full. It may quote a line of the design. */
  reason: z.string().max(500).optional(),
});
/** Machine state that only the owner can read. A machine omits fields that do not apply: a mill has no filament. */
export type OwnerState = z.output<typeof ownerStateSchema>;

/** Padding unit, bytes. Lengths reveal only a multiple of it. */
const BLOCK_BYTES = 128;

/** Binds a sealed state to its print, so that it cannot be opened for another print. */
export interface OwnerBinding {
  readonly installation: string;
  readonly object: string;
}

const infoOf = (label: string, { installation, object }: OwnerBinding, part: Uint8Array): Bytes =>
  concatBytes(utf8(`millrace/v1/${label}/`), fromHex(installation), part, utf8(object));
const liveInfo = (binding: OwnerBinding, session: Uint8Array) => infoOf('owner-state', binding, session);
const reportInfo = (binding: OwnerBinding, run: Uint8Array) => infoOf('owner-facts', binding, run);

/** Seals machine state to the owner. Each message can be opened independently. */
export interface OwnerSealing {
  seal(state: OwnerState): Bytes;
  close(): void;
}

/**
 * Sealing for one session's telemetry.
 * @param key the licence's `telemetryKey`
 * @throws {MillraceError} E_INPUT if the key is not a point
 */
export async function createOwnerSealing(
  key: Uint8Array,
  binding: OwnerBinding,
  session: Uint8Array,
): Promise<OwnerSealing> {
  return sealingOf(await createNumberedSealing(key, liveInfo(binding, session)));
}

/** Sealing for the reports of one run. @throws {MillraceError} E_INPUT */
export async function createFactsSealing(
  key: Uint8Array,
  binding: OwnerBinding,
  run: Uint8Array,
): Promise<OwnerSealing> {
  return sealingOf(await createNumberedSealing(key, reportInfo(binding, run)));
}

function sealingOf(sealing: NumberedSealing): OwnerSealing {
  return { seal: (state) => sealing.seal(padded(encodeCbor(state as never))), close: sealing.close };
}

/** Opens state from telemetry. @throws {MillraceError} E_SEAL, E_INPUT */
export async function openOwnerState(
  owner: P256Key,
  binding: OwnerBinding,
  session: Uint8Array,
  sealed: Uint8Array,
): Promise<OwnerState> {
  return stateOf((await openNumbered(owner, liveInfo(binding, session), sealed)).plaintext);
}

/** Opens state from a report. @throws {MillraceError} E_SEAL, E_INPUT */
export async function openOwnerFacts(
  owner: P256Key,
  binding: OwnerBinding,
  run: Uint8Array,
  sealed: Uint8Array,
): Promise<OwnerState> {
  return stateOf((await openNumbered(owner, reportInfo(binding, run), sealed)).plaintext);
}

function stateOf(plaintext: Uint8Array): OwnerState {
  return parse(ownerStateSchema, decodeCbor(unpadded(plaintext), 'sealed state'), 'sealed state');
}

/** Returns length(u16) ‖ content ‖ zeros, a whole number of blocks. */
function padded(content: Uint8Array): Bytes {
  const out = new Uint8Array(Math.ceil((2 + content.length) / BLOCK_BYTES) * BLOCK_BYTES);
  new DataView(out.buffer).setUint16(0, content.length);
  out.set(content, 2);
  return out;
}

function unpadded(block: Uint8Array): Uint8Array {
  const length = block.length < 2 ? 0 : new DataView(block.buffer, block.byteOffset).getUint16(0);
  const padding = block.subarray(2 + length);
  const whole = block.length > 0 && block.length % BLOCK_BYTES === 0 && padding.length < BLOCK_BYTES;
  if (!whole || 2 + length > block.length || padding.some((byte) => byte !== 0))
    throw new MillraceError('E_INPUT', 'sealed state: wrong padding');
  return block.subarray(2, 2 + length);
}
