import {
  type Bytes,
  bytesOf,
  bytesUpTo,
  concatBytes,
  decodeCbor,
  encodeCbor,
  MillraceError,
  parse,
  u32be,
} from '@millrace/base';
import { openAes256Gcm, sealAes256Gcm } from '@millrace/base/crypto';
import { z } from 'zod';
import { MAX_SEALED_STATE, machineStateSchema } from './shapes.ts';

const uint = z.number().int().nonnegative();

const telemetrySchema = z.strictObject({
  /** The machine has consumed every segment below this number. */
  acked: uint,
  /** Every frame below this number was received and decoded, so the cloud may drop its cell. */
  got: uint.optional(),
  /** Highest revision whose table is ready. */
  ready: z.union([uint, z.bigint()]).transform(BigInt),
  /** Segments whose frames could not be decoded. They are sent again in the next revision. */
  resend: z.array(uint).max(256).optional(),
  /** Fresh P-256 point for the next mix. */
  mix: bytesOf(65).optional(),
  machine: machineStateSchema.optional(),
  /** State sealed to the owner (owner-state.ts). The nodes only forward it. */
  sealed: bytesUpTo(MAX_SEALED_STATE).optional(),
  /** Time to compute the latest table, ms. The minimum duration of a revision depends on it. */
  tableMs: uint.optional(),
});
/** One message of the reverse hint stream. */
export type Telemetry = z.output<typeof telemetrySchema>;

/** Seals telemetry (AES-256-GCM, key of the session, nonce = frame number) before it is encoded as hints. */
export function sealTelemetry(key: Uint8Array, frame: number, telemetry: Telemetry): Bytes {
  const plain = encodeCbor(telemetry as never);
  return sealAes256Gcm(key, nonceOf(frame), plain);
}

/** @throws {MillraceError} E_SEAL, E_INPUT */
export function openTelemetry(key: Uint8Array, frame: number, cell: Uint8Array): Telemetry {
  if (cell.length < 16) throw new MillraceError('E_SEAL', 'telemetry: too short');
  let plain: Bytes;
  try {
    plain = openAes256Gcm(key, nonceOf(frame), cell);
  } catch (cause) {
    throw new MillraceError('E_SEAL', 'telemetry: cannot be opened', { cause });
  }
  return parse(telemetrySchema, decodeCbor(plain, 'telemetry'), 'telemetry');
}

function nonceOf(frame: number): Bytes {
  return concatBytes(new Uint8Array(8), u32be(frame));
}
