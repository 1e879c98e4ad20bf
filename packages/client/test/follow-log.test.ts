import { MillraceError } from '@millrace/base';
import {
  cosign,
  decideCheckpoint,
  ed25519NoteSigner,
  formatCosignatures,
  formatNote,
  formatVerifierKey,
  type Ledger,
  noteTypes,
  openLedger,
  parseAddCheckpoint,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  type WitnessedHead,
} from '@millrace/ledger';
import {
  MemoryStore,
  openTestLedger,
  origin,
  request,
  signer,
  stepClock,
  witness,
} from '@millrace/testkit/ledger/helpers';
import { beforeEach, describe, expect, it } from 'vitest';
import { createMemoryStorage, type FollowOptions, followLog, type LogSource } from '../src/index.ts';

// A lying log has its real key: all ledgers here sign with the same key, and each checkpoint verifies.

let ledger: Ledger;
/** A fork of the same size as the ledger, with different entries from the third on. */
let fork: Ledger;
let storage: ReturnType<typeof createMemoryStorage>;
beforeEach(async () => {
  ledger = await openTestLedger(new MemoryStore());
  fork = await openTestLedger(new MemoryStore());
  storage = createMemoryStorage();
  await grow(ledger, 300);
  await grow(fork, 300, 'forked');
});

async function grow(log: Ledger, by: number, name = 'machine') {
  const from = log.size;
  await log.appendMany(
    Array.from({ length: by }, (_, n) => request(from + n < 3 ? `first-${n}` : `${name}-${from + n}`, 'machine')),
  );
}

const sourceOf = (log: Pick<Ledger, 'checkpoint' | 'tile'>): LogSource => ({
  checkpoint: async () => log.checkpoint(),
  tile: (path) => log.tile(path),
});
const follow = (log: Pick<Ledger, 'checkpoint' | 'tile'>, more: Partial<FollowOptions> = {}) =>
  followLog({ source: sourceOf(log), logKeys: [parseVerifierKey(ledger.logKey)], storage, ...more });
const code = (expected: string) => expect.objectContaining({ code: expected });

/** A witness of this one log, as in C2SP tlog-witness. */
function honestWitness() {
  let head: WitnessedHead | undefined;
  const logs = new Map([[ledger.origin, [parseVerifierKey(ledger.logKey)]]]);
  return {
    key: parseVerifierKey(formatVerifierKey(witness.name, witness.publicKey, noteTypes.cosignature)),
    post: async (body: Uint8Array) => {
      const decision = decideCheckpoint(parseAddCheckpoint(body), logs, () => head);
      if (decision.status !== 200) {
        const { status, size } = decision;
        return { status, body: new TextEncoder().encode(size === undefined ? '' : `${size}\n`) };
      }
      head = decision.checkpoint;
      return { status: 200, body: formatCosignatures([await cosign(decision.text, 1_700_000_000, witness)]) };
    },
  };
}

describe('an honest log', () => {
  it('is followed from one head to the next', async () => {
    expect(await follow(ledger)).toMatchObject({ size: 300, before: undefined, unchecked: [] });
    expect(await follow(ledger)).toMatchObject({ size: 300, before: 300 });
    await grow(ledger, 270);
    expect(await follow(ledger)).toMatchObject({ size: 570, before: 300 });
  });

  it('is followed across a rotation of its key by whoever has both keys', async () => {
    const store = new MemoryStore();
    const first = await openTestLedger(store);
    await grow(first, 5);
    const next = ed25519NoteSigner(origin, new Uint8Array(32).fill(77));
    const options = { store, signer: next, origin, clock: stepClock(), formerKeys: [first.logKey] };
    const both = [first.logKey, formatVerifierKey(origin, next.publicKey)].map(parseVerifierKey);
    expect(await follow(first, { logKeys: both })).toMatchObject({ size: 5 });
    const overlapping = await openLedger({ ...options, coSigners: () => [signer] });
    await grow(overlapping, 5);
    expect(await follow(overlapping, { logKeys: both })).toMatchObject({ size: 10, before: 5 });
    expect(await follow(overlapping)).toMatchObject({ size: 10, before: 10 });
    const alone = await openLedger(options);
    await grow(alone, 5);
    await expect(follow(alone)).rejects.toEqual(code('E_LEDGER_CHECKPOINT'));
    expect(await follow(alone, { logKeys: both })).toMatchObject({ size: 15, before: 10 });
  });

  it('may start empty', async () => {
    const fresh = await openTestLedger(new MemoryStore());
    expect(await follow(fresh)).toMatchObject({ size: 0 });
    await grow(fresh, 5);
    expect(await follow(fresh)).toMatchObject({ size: 5, before: 0 });
  });

  it('agrees with its witnesses and with checkpoints shown to others', async () => {
    const watching = honestWitness();
    const earlier = ledger.checkpoint();
    await grow(ledger, 3);
    const seen = await follow(ledger, { witnesses: [watching], others: [earlier] });
    expect(seen.witnesses).toEqual(['witness.example/w1']);
    // The log publishes the cosignature, so the witness is not asked.
    const { text, signatures } = parseNote(ledger.checkpoint());
    const published = formatNote({ text, signatures: [...signatures, await cosign(text, 1_700_000_000, witness)] });
    const log = { checkpoint: () => published, tile: (path: string) => ledger.tile(path) };
    const silent = { ...watching, post: () => Promise.reject(new Error('asked')) };
    expect((await follow(log, { witnesses: [silent] })).witnesses).toEqual(['witness.example/w1']);
  });

  it('is followed while a witness does not answer; the witness is reported as unchecked', async () => {
    const gone = () => Promise.reject(new MillraceError('E_UNAVAILABLE', 'no answer'));
    const { unchecked, witnesses } = await follow(ledger, { witnesses: [{ ...honestWitness(), post: gone }] });
    expect(witnesses).toEqual([]);
    expect(unchecked).toEqual(['witness.example/w1: no answer']);
  });
});

describe('a lying log with its real key', () => {
  it('is detected when it rewrites entries, at the same or a larger size', async () => {
    await follow(ledger);
    await expect(follow(fork)).rejects.toEqual(code('E_LEDGER_PROOF'));
    await grow(fork, 10, 'forked');
    await expect(follow(fork)).rejects.toEqual(code('E_LEDGER_PROOF'));
    // The evidence: two checkpoints signed by the log.
    const evidence = await Promise.all(['shown', 'other'].map((name) => storage.read(`evidence/${name}.checkpoint`)));
    expect(evidence).toEqual([fork.checkpoint(), ledger.checkpoint()]);
    // The alarm is raised again on the next look, and the head seen before is kept.
    await expect(follow(fork)).rejects.toEqual(code('E_LEDGER_PROOF'));
    expect(await follow(ledger)).toMatchObject({ before: 300 });
  });

  it('is detected when it shrinks', async () => {
    const old = ledger.checkpoint();
    await grow(ledger, 1);
    await follow(ledger);
    const rolled = { checkpoint: () => old, tile: (path: string) => ledger.tile(path) };
    await expect(follow(rolled)).rejects.toEqual(code('E_LEDGER_TRUNCATED'));
  });

  it('is detected when it shows another history than a certificate’s holder has', async () => {
    await expect(follow(fork, { others: [ledger.checkpoint()] })).rejects.toEqual(code('E_LEDGER_PROOF'));
    await grow(fork, 10, 'forked');
    await expect(follow(fork, { others: [ledger.checkpoint()] })).rejects.toEqual(code('E_LEDGER_PROOF'));
    await grow(ledger, 20);
    await expect(follow(fork, { others: [ledger.checkpoint()] })).rejects.toEqual(code('E_LEDGER_TRUNCATED'));
    expect(await storage.read('checkpoint')).toBeUndefined();
  });

  it('is detected when it shows another history than a witness has', async () => {
    const watching = honestWitness();
    await follow(ledger, { witnesses: [watching] });
    const stranger = { storage: createMemoryStorage(), witnesses: [watching] };
    await expect(follow(fork, stranger)).rejects.toEqual(code('E_LEDGER_PROOF'));
    await grow(fork, 10, 'forked');
    await expect(follow(fork, stranger)).rejects.toEqual(code('E_LEDGER_PROOF'));
    await grow(ledger, 20);
    await follow(ledger, { witnesses: [watching] });
    await expect(follow(fork, stranger)).rejects.toEqual(code('E_LEDGER_TRUNCATED'));
  });

  it('is detected when it serves tiles or entries that its checkpoint does not cover', async () => {
    const mixed = { checkpoint: () => ledger.checkpoint(), tile: (path: string) => fork.tile(path) };
    await expect(follow(mixed)).rejects.toEqual(code('E_LEDGER_ENTRY'));
    const entries = {
      checkpoint: () => ledger.checkpoint(),
      tile: (path: string) => (path.includes('entries') ? fork : ledger).tile(path),
    };
    await expect(follow(entries)).rejects.toEqual(code('E_LEDGER_ENTRY'));
    const short = {
      checkpoint: () => ledger.checkpoint(),
      tile: async (path: string) => (path.includes('entries') ? new Uint8Array() : ledger.tile(path)),
    };
    await expect(follow(short)).rejects.toEqual(code('E_LEDGER_TRUNCATED'));
  });

  it('causes an error when it hides its tiles, and the last head is kept', async () => {
    await follow(ledger);
    await grow(ledger, 5);
    const hidden = {
      checkpoint: () => ledger.checkpoint(),
      tile: () => Promise.reject(new MillraceError('E_NOT_FOUND', 'no such tile')),
    };
    await expect(follow(hidden)).rejects.toEqual(code('E_NOT_FOUND'));
    expect(parseCheckpoint(parseNote((await storage.read('checkpoint')) ?? new Uint8Array()).text).size).toBe(300);
  });
});
