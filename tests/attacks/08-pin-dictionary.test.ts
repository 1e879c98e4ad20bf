import { type Bytes, concatBytes, utf8 } from '@millrace/base';
import { createEngine, HEADER_BYTES, Ratchet } from '@millrace/live-matrix';
import { frameMac, nodeHmac } from '@millrace/live-matrix/parts';
import { forwardSeed } from '@millrace/protocol';
import { bareHints, framesOf, hintsOf, known, same, valuesOf } from '@millrace/testkit/attacks/known';
import { type RealSession, realSession, type Shares, seedFrom } from '@millrace/testkit/attacks/session-seed';
import { beforeAll, describe, expect, it } from 'vitest';

// Row 8: a PIN of six digits is not a key. As the paper's salt it is found by brute force. Here it is context (the
// serial number) of the session's seed, which is derived from three secrets of 32 bytes. MILLRACE_KEYS sets the number
// of keys to try, at least a million and at most 256 million.

const PINS = 1_000_000;
const KEYS = PINS * Math.max(1, Math.min(256, Math.round(Number(process.env.MILLRACE_KEYS ?? PINS) / PINS)));
const engine = createEngine();
const PIN = '480517';
/** The known plaintext: the start of a file as slicers write it, or a whole cell. */
const cell = known('row 8 cell', 3 * 40);
const first = valuesOf(cell, 3);

const padded = (pin: string): Bytes => concatBytes(utf8(pin), new Uint8Array(32 - pin.length));
const digits = (pin: number): string => String(pin % PINS).padStart(6, '0');

/** The keys that give a known segment its first hint, and the following three hints too. */
function keysThatFit(keys: Iterable<Uint8Array>, hints: Uint32Array): { tried: number; found: Uint8Array[] } {
  const value = first.subarray(0, 1);
  const hash = new Uint32Array(2);
  const found: Uint8Array[] = [];
  let tried = 0;
  for (const key of keys) {
    tried++;
    engine.hashBatch({ suite: 'keccak256', revision: 0n, key }, 0, value, hash);
    if (((hash[0] ?? 0) & 0xffffff) !== hints[0]) continue;
    const more = bareHints(engine, key, first.subarray(0, 4), 3);
    if (more.every((hint, i) => hint === hints[i])) found.push(key.slice());
  }
  return { tried, found };
}

/** The PINs, padded with bytes of one value. One array is incremented: making strings would cost more than the hash. */
function* pins(padding = 0): Generator<Uint8Array> {
  const key = new Uint8Array(32).fill(padding);
  key.fill(0x30, 0, 6);
  for (let pin = 0; pin < PINS; pin++) {
    yield key;
    for (let at = 5; at >= 0; at--) {
      key[at] = (key[at] ?? 0) + 1;
      if ((key[at] ?? 0) <= 0x39) break;
      key[at] = 0x30;
    }
  }
}

/** The candidates of an attacker, up to `KEYS`: PINs padded with zeros, then with any other byte. */
function* dictionary(): Generator<Uint8Array> {
  for (let padding = 0; padding < KEYS / PINS; padding++) yield* pins(padding);
}

describe('baseline: the PIN is the key', () => {
  it('is found from one known symbol of three bytes: only the correct key fits', () => {
    const began = performance.now();
    const { found } = keysThatFit(pins(), bareHints(engine, padded(PIN), first, 3));
    const seconds = (performance.now() - began) / 1_000;
    expect(found.map((key) => Buffer.from(key.subarray(0, 6)).toString())).toEqual([PIN]);
    console.log(`PIN as the key: all 10^6 tried in ${seconds.toFixed(2)} s (${engine.detail})`);
  });
});

describe('ours: the PIN is context', () => {
  let session: RealSession;
  let right: Bytes;
  beforeAll(async () => {
    session = await realSession('row 8', PIN);
    right = frameOf(session.seed);
  });
  const [frame = new Uint8Array()] = framesOf({ suite: 'keccak256', order: 24, hints: 'dense' }, 'row 8', [cell]);
  const macOf = (made: Uint8Array) => {
    const ratchet = new Ratchet(forwardSeed(made), 0n);
    const fits = same(frameMac(nodeHmac, ratchet.keys.mac, right.subarray(0, -16)), right.subarray(-16));
    ratchet.close();
    return fits;
  };

  /** The session's first frame, of the known plaintext. */
  function frameOf(made: Uint8Array): Bytes {
    const ratchet = new Ratchet(forwardSeed(made), 0n);
    const hints = bareHints(engine, ratchet.keys.table, first, 3);
    const bytes = concatBytes(
      frame.subarray(0, HEADER_BYTES),
      ...Array.from(hints, (hint) => Uint8Array.of(hint, hint >> 8, hint >> 16)),
      new Uint8Array(16),
    );
    bytes.set(frameMac(nodeHmac, ratchet.keys.mac, bytes.subarray(0, -16)), bytes.length - 16);
    ratchet.close();
    return bytes;
  }

  it(`no key of a dictionary of ${KEYS} fits the stream of a session`, { timeout: 240_000 + KEYS / 50 }, () => {
    const began = performance.now();
    const { tried, found } = keysThatFit(dictionary(), hintsOf(right, 3));
    const seconds = (performance.now() - began) / 1_000;
    expect(found).toEqual([]);
    expect(tried).toBe(KEYS);
    console.log(`PIN as context: 0 of ${tried} keys fit, ${seconds.toFixed(1)} s`);
  });

  it('no PIN fits in the derivation of seeds, even if all other inputs except one secret are known', () => {
    // Each attempt costs a chain of HKDF, 60 µs: two thousand PINs, including the correct one.
    const guesses = [PIN, ...Array.from({ length: 2_000 }, (_, i) => digits(i * 499))];
    const [, machine, licence] = session.shares;
    const zeros = new Uint8Array(32);
    const tries = (pin: string): Shares[] => [
      [utf8(pin), zeros, zeros],
      [padded(pin), padded(pin), padded(pin)],
      [padded(pin), machine, licence],
      [zeros, machine, licence],
      [machine, licence, padded(pin)],
    ];
    const fitting = guesses.flatMap((pin) => tries(pin).filter((tried) => macOf(seedFrom(session, tried, pin))));
    expect(fitting).toEqual([]);
    // Positive control: the attack works with all three secrets.
    expect(macOf(seedFrom(session, session.shares, PIN))).toBe(true);
  });
});
