import { type Bytes, copyBytes, systemRandom } from '@millrace/base';
import { p256Key } from '@millrace/identity';
import { createEngine, createReceiver } from '@millrace/live-matrix';
import { type Permit, signPermit, verifyPermit } from '@millrace/protocol';
import { framesOf, known } from '@millrace/testkit/attacks/known';
import { applyOuterLayer, CONTENT_BYTES, openSegment, SEGMENT_BYTES, sealSegment } from '@millrace/vault';
import { describe, expect, it } from 'vitest';

// Row 5: flip, reorder, truncate, forge, replay. Every carrier of a design or of a right to it rejects all of them.

const COUNT = 4;
const designSecret = known('row 5 owner', 32);
const cekOf = (number: number) => known(`row 5 cek ${number}`, 32);
const placeOf = (number: number, label = 'row 5') => ({
  designNonce: known(`${label} nonce`, 16),
  number,
  final: number === COUNT - 1,
});
const content = (number: number, label = 'row 5') => known(`${label} content ${number}`, CONTENT_BYTES);
const seal = (number: number, label?: string) =>
  sealSegment({ ...placeOf(number, label), cek: cekOf(number), designSecret, content: content(number, label) });
const sealed = Array.from({ length: COUNT }, (_, number) => seal(number));

const flipped = (bytes: Uint8Array, at: number): Bytes => {
  const changed = copyBytes(bytes);
  changed[at] = (changed[at] ?? 0) ^ (1 << (at & 7));
  return changed;
};
/** Positions throughout, including the first and the last. */
const everywhere = (length: number, count = 300): number[] =>
  Array.from({ length: count }, (_, i) => Math.floor((i * (length - 1)) / (count - 1)));

const attempt = (number: number, bytes: Bytes, place = placeOf(number)): string => {
  try {
    openSegment({ ...place, cek: cekOf(number), designSecret, sealed: bytes });
    return 'accepted';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};

describe('baseline: a cipher without authentication', () => {
  it('accepts every flipped bit', () => {
    const key = known('row 5 ctr', 32);
    const cell = applyOuterLayer(key, sealed[0] ?? new Uint8Array());
    for (const at of everywhere(CONTENT_BYTES)) {
      const opened = applyOuterLayer(key, flipped(cell, at));
      expect(opened[at]).not.toBe(sealed[0]?.[at]);
    }
  });
});

describe('sealed segments', () => {
  it('open unmodified', () => {
    for (const [number, bytes] of sealed.entries()) expect(attempt(number, bytes)).toBe('accepted');
  });

  it.each<[string, () => string[]]>([
    ['flipped', () => everywhere(SEGMENT_BYTES).map((at) => attempt(1, flipped(sealed[1] ?? new Uint8Array(), at)))],
    ['reordered', () => sealed.flatMap((bytes, i) => sealed.flatMap((_, j) => (i === j ? [] : [attempt(j, bytes)])))],
    [
      'truncated',
      () => [
        ...[0, 1, 16, CONTENT_BYTES].map((length) =>
          attempt(0, copyBytes((sealed[0] ?? new Uint8Array()).subarray(0, length))),
        ),
        // The design ends early: a middle segment is passed off as the last one.
        attempt(1, sealed[1] ?? new Uint8Array(), { ...placeOf(1), final: true }),
      ],
    ],
    ['forged', () => Array.from({ length: 100 }, (_, i) => attempt(2, known(`row 5 forged ${i}`, SEGMENT_BYTES)))],
    ['replayed from another design', () => sealed.map((_, number) => attempt(number, seal(number, 'row 5 older')))],
  ])('%s are all rejected', (_, make) => {
    const outcomes = make();
    expect(outcomes.length).toBeGreaterThan(3);
    expect(new Set(outcomes)).toEqual(new Set(['E_SEAL']));
  });
});

describe('frames', () => {
  const parameters = { suite: 'keccak256', order: 16, hints: 'dense' } as const;
  const cells = Array.from({ length: 3 }, (_, i) => known(`row 5 cell ${i}`, 2_000));
  const frames = framesOf(parameters, 'row 5', cells);
  const receive = async (label = 'row 5') => {
    const receiver = await createReceiver({
      parameters,
      sessionId: known(`${label} session`, 16),
      seed: known(`${label} seed`, 32),
      engine: createEngine(),
    });
    return receiver;
  };

  it('that are flipped, truncated, forged or of another session are rejected', async () => {
    const receiver = await receive();
    const [frame = new Uint8Array()] = frames;
    const offered = [
      ...everywhere(frame.length, 200).map((at) => flipped(frame, at)),
      ...[10, 37, 38, 100, frame.length - 1].map((length) => copyBytes(frame.subarray(0, length))),
      ...Array.from({ length: 20 }, (_, i) => known(`row 5 frame ${i}`, frame.length)),
      ...framesOf(parameters, 'row 5 other', cells),
    ];
    const accepted: number[] = [];
    for (const [i, bytes] of offered.entries())
      await receiver.decode(copyBytes(bytes)).then(
        () => accepted.push(i),
        (error: { code?: string }) => expect(error.code).toMatch(/^E_FRAME_/),
      );
    expect(accepted).toEqual([]);
    // The genuine frame is still accepted.
    expect((await receiver.decode(copyBytes(frame))).cell).toEqual(cells[0]);
    await receiver.close();
  });
});

describe('permits', () => {
  it('with any flipped bit are rejected', async () => {
    const key = p256Key(known('row 5 permit key', 32));
    const installation = '00'.repeat(16);
    const id = '11'.repeat(16);
    const permit: Permit = {
      type: 'permit',
      id: systemRandom(16),
      issued: 0,
      expires: 1_000,
      print: id,
      licence: id,
      object: `${id}-1`,
      number: 1,
      design: id,
      machine: id,
      request: known('row 5 request', 32),
      count: 1,
    };
    const bytes = await signPermit(key, installation, permit);
    const verify = (changed: Uint8Array) =>
      verifyPermit(changed, installation, () => copyBytes(key.publicKey), 500).then(
        () => 'accepted',
        (error: { code?: string }) => error.code,
      );
    expect(await verify(bytes)).toBe('accepted');
    const outcomes = await Promise.all(Array.from({ length: bytes.length }, (_, at) => verify(flipped(bytes, at))));
    expect(outcomes.filter((outcome) => outcome === 'accepted')).toEqual([]);
    for (const outcome of outcomes) expect(outcome).toMatch(/^E_(SIGNATURE|INPUT|PERMIT|AUTH)$/);
    key.close();
  });
});
