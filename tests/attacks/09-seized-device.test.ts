import type { Bytes } from '@millrace/base';
import {
  allocateScratch,
  allocateTable,
  createEngine,
  createReceiver,
  createSender,
  type MatrixParameters,
} from '@millrace/live-matrix';
import { completeParameters, frameMac, nodeHmac, resolveFrame } from '@millrace/live-matrix/parts';
import { bareHints, known, same, valuesOf } from '@millrace/testkit/attacks/known';
import { nextSecret, revisionKeys } from '@millrace/testkit/live-matrix/second';
import { describe, expect, it } from 'vitest';

// Row 9: the attacker records the whole stream and seizes the device at revision r with its full state: the keys of
// r - 1 and r, and the secret from which r + 1 is derived.

const parameters: MatrixParameters = { suite: 'turboshake128', order: 16, hints: 'dense' };
const REVISIONS = 70;
const SEIZED = 20;
/** The first revision with a fresh Diffie-Hellman secret. */
const MIX = 64;
const engine = createEngine();
const sessionId = known('row 9 session', 16);
const seed = known('row 9 seed', 32);
const fresh = known('row 9 fresh secret', 32);
const cells = Array.from({ length: REVISIONS }, (_, r) => known(`row 9 cell ${r}`, 1_200));

/** One frame of each revision, as recorded on the wire. */
function record(): Bytes[] {
  const sender = createSender({ parameters, sessionId, seed, engine });
  const frames = cells.map((cell, r) => {
    if (r === MIX) sender.mix(fresh);
    if (r > 0) sender.advance();
    return sender.encode(r, cell);
  });
  sender.close();
  return frames;
}

type Keys = ReturnType<typeof revisionKeys>;

/** The device's state at revision r, by the spec's second implementation: `Ratchet` does not expose its next secret. */
function seize(at: number): { readonly keys: readonly Keys[]; readonly next: Uint8Array } {
  let secret: Uint8Array = seed;
  const keys: Keys[] = [];
  for (let r = 0; r <= at; r++) {
    keys.push(revisionKeys(secret));
    secret = nextSecret(secret);
  }
  return { keys: keys.slice(-2), next: secret };
}

const macFits = (frame: Uint8Array, key: Uint8Array) =>
  same(frameMac(nodeHmac, key, frame.subarray(0, -16)), frame.subarray(-16));

/** Opens a recorded frame with the keys of its revision. */
async function open(frame: Uint8Array, revision: bigint, keys: Keys): Promise<Bytes | undefined> {
  if (!macFits(frame, keys.mac)) return undefined;
  const build = { table: allocateTable(16), ...allocateScratch(16) };
  engine.partition({ suite: parameters.suite, revision, key: keys.table }, build, 0, 2 ** 16);
  engine.index(build, 0);
  return resolveFrame(engine, completeParameters(parameters), keys, frame, {
    lookUp: (codes, skip) => engine.lookUp(build.table, codes, skip),
    solve: (...all) => engine.solve(...all),
  });
}

describe('baseline: t is public and k static, as in the paper', () => {
  it('a device seized at any time opens every recording', () => {
    const k = known('row 9 static', 32);
    let read = 0;
    for (const [r, cell] of cells.entries()) {
      const wanted = valuesOf(cell, 2);
      const hints = bareHints(engine, k, wanted, 4, BigInt(r));
      const all = bareHints(
        engine,
        k,
        Uint32Array.from({ length: 2 ** 16 }, (_, g) => g),
        4,
        BigInt(r),
      );
      const book = new Map(Array.from(all, (hint, g) => [hint, g]));
      if (hints.every((hint, i) => book.get(hint) === wanted[i])) read++;
    }
    expect(read).toBe(REVISIONS);
  });
});

describe(`ours, seized at revision ${SEIZED}`, () => {
  const frames = record();
  const { keys, next } = seize(SEIZED);

  it('r - 1 and r can be opened: a documented limit', async () => {
    for (const [i, revision] of [SEIZED - 1, SEIZED].entries()) {
      const cell = await open(frames[revision] as Bytes, BigInt(revision), keys[i] as Keys);
      expect(cell).toEqual(cells[revision]);
    }
  });

  it('revisions from r + 1 can be opened until the next Diffie-Hellman mix, none after it', async () => {
    const thief = await createReceiver({ parameters, sessionId, seed: next, firstRevision: BigInt(SEIZED + 1) });
    for (let r = SEIZED + 1; r < MIX; r++) {
      if (r > SEIZED + 1) await thief.prepareNext();
      expect((await thief.decode(frames[r] as Bytes)).cell).toEqual(cells[r]);
    }
    await expect(thief.prepareNext()).rejects.toMatchObject({ code: 'E_REVISION_MIX' });
    // With anything but the fresh secret, which the device does not have yet.
    thief.mix(next);
    for (let r = MIX; r < REVISIONS; r++) {
      await thief.prepareNext();
      await expect(thief.decode(frames[r] as Bytes)).rejects.toMatchObject({ code: 'E_FRAME_MAC' });
    }
    await thief.close();
  });

  it('no frame of r - 2 or earlier opens with any held value as any key', async () => {
    const held = [next, ...keys.flatMap((own) => Object.values(own))];
    const openings: number[] = [];
    for (let r = 0; r <= SEIZED - 2; r++) {
      for (const secret of held) {
        const asKeys = [...keys, revisionKeys(secret), { ...revisionKeys(secret), mac: secret }];
        for (const one of asKeys) if ((await open(frames[r] as Bytes, BigInt(r), one)) !== undefined) openings.push(r);
      }
    }
    expect(openings).toEqual([]);
    // Positive control: the search finds what is present.
    expect(macFits(frames[SEIZED] as Bytes, keys[1]?.mac as Uint8Array)).toBe(true);
  });

  it('baseline: the state at r - 2 opens them', async () => {
    const earlier = seize(SEIZED - 2);
    const frame = frames[SEIZED - 2] as Bytes;
    expect(await open(frame, BigInt(SEIZED - 2), earlier.keys[1] as Keys)).toEqual(cells[SEIZED - 2]);
  });
});
