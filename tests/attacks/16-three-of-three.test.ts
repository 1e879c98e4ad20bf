import { type Bytes, copyBytes } from '@millrace/base';
import { known } from '@millrace/testkit/attacks/known';
import { realSession, seedFrom } from '@millrace/testkit/attacks/session-seed';
import { applyOuterLayer, CONTENT_BYTES, openSegment, SEGMENT_BYTES, sealSegment } from '@millrace/vault';
import { describe, expect, it } from 'vitest';

// Row 16: three shares open what fewer cannot. A cell needs the owner's design secret, the content key and this epoch's
// outer key. A session needs the key agreements with the machine's session key and with its static key, and the
// licence's secret.

/** All subsets of three shares. */
const subsets = Array.from({ length: 8 }, (_, bits) => [0, 1, 2].map((i) => (bits & (1 << i)) !== 0));
const all = (have: readonly boolean[]) => have.every((one) => one);

describe('a cell', () => {
  const designSecret = known('row 16 owner', 32);
  const cek = known('row 16 keys node', 32);
  const outerKey = known('row 16 epoch', 32);
  const place = { designNonce: known('row 16 nonce', 16), number: 3, final: false };
  const content = known('row 16 content', CONTENT_BYTES);
  const cell = applyOuterLayer(outerKey, sealSegment({ ...place, cek, designSecret, content }));

  /** What a thief uses for a missing share: nothing, or another of the shares. */
  const guesses = [new Uint8Array(32), cek, designSecret, outerKey];
  const opens = (cekOf: Uint8Array, secretOf: Uint8Array, sealed: Bytes): boolean => {
    try {
      return Buffer.from(openSegment({ ...place, cek: cekOf, designSecret: secretOf, sealed })).equals(content);
    } catch {
      return false;
    }
  };

  it.each(subsets.map((have) => ({ have })))('opens with all three shares only: $have', ({ have }) => {
    const [owner = false, keys = false, epoch = false] = have;
    const from = (has: boolean, share: Uint8Array) => (has ? [share] : guesses.filter((guess) => guess !== share));
    const opened = from(owner, designSecret).flatMap((secret) =>
      from(keys, cek).flatMap((key) =>
        from(epoch, outerKey).filter((outer) => opens(key, secret, applyOuterLayer(outer, copyBytes(cell)))),
      ),
    );
    expect(opened.length > 0).toBe(all(have));
    expect(cell).toHaveLength(SEGMENT_BYTES);
  });
});

describe('a session, with its real derivation', () => {
  it.each(subsets.map((have) => ({ have })))('gets its seed from all three shares only: $have', async ({ have }) => {
    const session = await realSession('row 16 session', 'serial');
    const guesses = [new Uint8Array(32), ...session.shares, known('row 16 guess', 32)];
    const from = (i: 0 | 1 | 2) =>
      have[i] ? [session.shares[i]] : guesses.filter((guess) => guess !== session.shares[i]);
    const right = from(0).flatMap((ephemeral) =>
      from(1).flatMap((machine) =>
        from(2).filter((licence) => Buffer.from(seedFrom(session, [ephemeral, machine, licence])).equals(session.seed)),
      ),
    );
    expect(right.length > 0).toBe(all(have));
  });

  it('depends on the serial number: another one gives another seed', async () => {
    const session = await realSession('row 16 serial', 'serial');
    expect(Buffer.from(seedFrom(session, session.shares)).equals(session.seed)).toBe(true);
    expect(Buffer.from(seedFrom(session, session.shares, 'another')).equals(session.seed)).toBe(false);
  });
});
