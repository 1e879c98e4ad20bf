import { randomBytes } from 'node:crypto';
import { Backoff, type Bytes, compareBytes, concatBytes, MillraceError, sleep } from '@millrace/base';
import type { Swap } from '@millrace/stores';
import type { Row } from './session.ts';

const CLAIM_BYTES = 16;
/** Claims that a row keeps. A change of unknown outcome can be settled until this many later changes were made. */
const KEPT = 8;

/**
 * The claims of a row after one more change: ids of its newest changes, newest first. A change is conditional on all
 * the claims that it saw, and its own is random. A change that is sent twice, or arrives late, is therefore applied at
 * most once.
 */
export function nextClaims(before: Uint8Array | undefined): Bytes {
  const kept = (before ?? new Uint8Array()).subarray(0, (KEPT - 1) * CLAIM_BYTES);
  return concatBytes(new Uint8Array(randomBytes(CLAIM_BYTES)), kept);
}

export interface DecisionOptions {
  /** Claims that the change was made from. */
  readonly before: Uint8Array | undefined;
  /** Claims that the change writes: `nextClaims(before)`. */
  readonly after: Uint8Array;
  /** Sends the conditional write once: `[applied]`, and `claims` if it was not applied. */
  readonly send: () => Promise<Row[]>;
  /** The claims of the row, read at SERIAL. */
  readonly read: () => Promise<Uint8Array | undefined>;
  readonly patienceMs: number;
}

/**
 * Makes one conditional write and settles errors: Cassandra may report one although it applied the write. Repeats the
 * write, which its claim makes safe, then reads.
 * @returns `unknown` if the cluster did not answer in time after it had taken the write
 * @throws {MillraceError} E_UNAVAILABLE, E_CONFIG, E_STORE: nothing was changed
 */
export async function decide({ before, after, send, read, patienceMs }: DecisionOptions): Promise<Swap> {
  const backoff = new Backoff({ firstMs: 50, mostMs: 1_000 });
  const end = performance.now() + patienceMs;
  let sent = false;
  for (;;) {
    try {
      const [answer] = await send();
      if (answer?.['[applied]'] === true) return 'applied';
      const found = answer?.claims as Uint8Array | null | undefined;
      return sent ? settled(found ?? undefined, before, after) : 'refused';
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      sent ||= error.code === 'E_TIMEOUT';
      if (!error.retryable && !sent) throw error;
      if (error.retryable && performance.now() < end) {
        await sleep(backoff.next());
        continue;
      }
      if (!sent) throw error;
      const found = await read().catch(() => undefined);
      return found === undefined ? 'unknown' : settled(found, before, after);
    }
  }
}

/** What became of a change, by the claims of its row. */
function settled(found: Uint8Array | undefined, before: Uint8Array | undefined, after: Uint8Array): Swap {
  const claims = claimsOf(found);
  const has = (claim: Uint8Array) => claims.some((each) => compareBytes(each, claim) === 0);
  const [own] = claimsOf(after);
  if (own !== undefined && has(own)) return 'applied';
  const [earlier] = claimsOf(before);
  // The history reaches back to the state from which the change was made, and another change followed that state.
  const complete = earlier === undefined ? claims.length < KEPT : has(earlier);
  const moved =
    claims.length > 0 && (earlier === undefined || compareBytes(claims[0] ?? own ?? earlier, earlier) !== 0);
  return complete && moved ? 'refused' : 'unknown';
}

function claimsOf(bytes: Uint8Array | undefined): Uint8Array[] {
  const count = Math.floor((bytes?.length ?? 0) / CLAIM_BYTES);
  return Array.from({ length: count }, (_, i) =>
    (bytes as Uint8Array).subarray(i * CLAIM_BYTES, (i + 1) * CLAIM_BYTES),
  );
}
