import {
  codeOf,
  signer as former,
  MemoryStore,
  origin,
  request,
  stepClock,
  story,
} from '@millrace/testkit/ledger/helpers';
import { describe, expect, test } from 'vitest';
import {
  checkLedger,
  decideCheckpoint,
  decodeCertificate,
  ed25519NoteSigner,
  exportCertificate,
  formatVerifierKey,
  type LedgerStore,
  type NoteSigner,
  openCheckpoint,
  openLedger,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  verifyCertificate,
  verifyConsistency,
} from '../src/index.ts';

// A log keeps its origin when its key is rotated (spec/ledger.md, "Rotating the key").

const signer = ed25519NoteSigner(origin, new Uint8Array(32).fill(77));
const [formerKey, logKey] = [former, signer].map(({ publicKey }) => formatVerifierKey(origin, publicKey)) as [
  string,
  string,
];

async function oldLog(): Promise<LedgerStore> {
  const store = new MemoryStore();
  const ledger = await openLedger({ store, signer: former, origin, clock: stepClock() });
  for (const event of story().slice(0, 6)) await ledger.append(event);
  await ledger.close();
  return store;
}

const rotated = (store: LedgerStore, coSigners: readonly NoteSigner[]) =>
  openLedger({ store, signer, origin, clock: stepClock(), formerKeys: [formerKey], coSigners: () => coSigners });

const signaturesOf = (checkpoint: Uint8Array, key: string) =>
  openCheckpoint(checkpoint, { logKey: parseVerifierKey(key) }).note.signatures.length;

describe('a rotated log key', () => {
  test('signs what the former key signed; both keys sign while both are accepted', async () => {
    const store = await oldLog();
    const ledger = await rotated(store, [former]);
    expect(ledger.size).toBe(6);
    for (const key of [logKey, formerKey]) expect(signaturesOf(ledger.checkpoint(), key)).toBe(2);
    for (const event of story().slice(6)) await ledger.append(event);
    for (const key of [logKey, formerKey]) {
      expect(openCheckpoint(ledger.checkpoint(), { logKey: parseVerifierKey(key) })).toMatchObject({ size: 9 });
      const certificate = await exportCertificate(ledger, 'object-1');
      expect((await verifyCertificate(certificate, { logKey: key })).checkpoint.unknownSignatures).toBe(1);
    }
    expect((await ledger.check()).ok).toBe(true);
  });

  test('signs alone afterwards; a verifier that knows only the former key gets an error', async () => {
    const store = await oldLog();
    const before = openCheckpoint((await rotated(store, [former])).checkpoint(), {
      logKey: parseVerifierKey(formerKey),
    });
    const ledger = await rotated(store, []);
    for (const event of story().slice(6)) await ledger.append(event);
    expect(signaturesOf(ledger.checkpoint(), logKey)).toBe(1);
    expect(await codeOf(() => signaturesOf(ledger.checkpoint(), formerKey))).toBe('E_LEDGER_CHECKPOINT');
    const both = [logKey, formerKey].map(parseVerifierKey);
    expect(openCheckpoint(ledger.checkpoint(), { logKey: both })).toMatchObject({ size: 9 });
    expect((await checkLedger({ store, logKey: [logKey, formerKey] })).ok).toBe(true);
    expect(before.size).toBe(6);
  });

  test('verifies certificates from before, during and after the rotation with the keys of their time', async () => {
    const store = new MemoryStore();
    const first = await openLedger({ store, signer: former, origin, clock: stepClock() });
    await first.appendMany(story());
    const before = await exportCertificate(first, 'object-1');
    await first.close();
    const second = await rotated(store, [former]);
    const during = await exportCertificate(second, 'object-1');
    await second.close();
    const third = await rotated(store, []);
    await third.append(request('object-1', 'retired'));
    const after = await exportCertificate(third, 'object-1');
    const outcome = async (certificate: Uint8Array, key: string | readonly string[]) => {
      try {
        return verifyCertificate(certificate, { logKey: key }).state;
      } catch (error) {
        return codeOf(() => Promise.reject(error));
      }
    };
    const refused = 'E_LEDGER_CHECKPOINT';
    const byKeys = (key: string | readonly string[]) =>
      Promise.all([before, during, after].map((certificate) => outcome(certificate, key)));
    expect(await byKeys(formerKey)).toEqual(['completed', 'completed', refused]);
    expect(await byKeys(logKey)).toEqual([refused, 'completed', 'retired']);
    expect(await byKeys([logKey, formerKey])).toEqual(['completed', 'completed', 'retired']);
    // The log that the new key signs extends the one that the former key signed.
    const heads = [before, after].map((bytes) =>
      openCheckpoint(decodeCertificate(bytes).checkpoint, { logKey: [logKey, formerKey].map(parseVerifierKey) }),
    );
    const [old, now] = heads;
    if (old === undefined || now === undefined) throw new Error('no checkpoints');
    const proof = await third.proveConsistency(old.size, now.size);
    expect(verifyConsistency(old.size, now.size, proof, old.root, now.root)).toBe(true);
    // A certificate under a checkpoint from before the rotation keeps that checkpoint's signature.
    const again = await exportCertificate(third, 'object-1', { checkpoint: decodeCertificate(before).checkpoint });
    expect(again).toEqual(before);
  });

  test('a witness that is given the new key beside the former one signs on; with the former one until the overlap ends', async () => {
    const store = new MemoryStore();
    const first = await openLedger({ store, signer: former, origin, clock: stepClock() });
    await first.appendMany(story().slice(0, 5));
    const start = first.checkpoint();
    await first.close();
    const second = await rotated(store, [former]);
    await second.appendMany(story().slice(5, 7));
    const overlap = second.checkpoint();
    await second.close();
    const third = await rotated(store, []);
    await third.appendMany(story().slice(7));
    const keys = (...texts: string[]) => new Map([[origin, texts.map(parseVerifierKey)]]);
    const head = (checkpoint: Uint8Array) => parseCheckpoint(parseNote(checkpoint).text);
    const decide = async (checkpoint: Uint8Array, last: Uint8Array | undefined, known: ReturnType<typeof keys>) => {
      const old = last === undefined ? 0 : head(last).size;
      const proof = await third.proveConsistency(old, head(checkpoint).size);
      return decideCheckpoint({ old, proof, checkpoint }, known, () => last && head(last)).status;
    };
    const steps: [Uint8Array, Uint8Array | undefined][] = [
      [start, undefined],
      [overlap, start],
      [third.checkpoint(), overlap],
    ];
    const statuses = (known: ReturnType<typeof keys>) =>
      Promise.all(steps.map(([checkpoint, last]) => decide(checkpoint, last, known)));
    expect(await statuses(keys(logKey, formerKey))).toEqual([200, 200, 200]);
    expect(await statuses(keys(formerKey))).toEqual([200, 200, 403]);
    expect(await statuses(keys(logKey))).toEqual([403, 200, 200]);
  });

  test('opens no checkpoint that another key signed', async () => {
    const store = await oldLog();
    expect(await codeOf(() => openLedger({ store, signer, origin, clock: stepClock() }))).toBe('E_LEDGER_CHECKPOINT');
  });

  test('is rejected next to a wrong signature under the former key’s name', async () => {
    const ledger = await rotated(await oldLog(), [former]);
    const [text = ''] = new TextDecoder().decode(ledger.checkpoint()).split('\n\n');
    const other = new TextDecoder().decode(ledger.checkpoint()).replace(`\n6\n`, '\n7\n');
    expect(text).toContain(origin);
    const both = [logKey, formerKey].map(parseVerifierKey);
    expect(await codeOf(() => openCheckpoint(new TextEncoder().encode(other), { logKey: both }))).toBe(
      'E_LEDGER_CHECKPOINT',
    );
  });
});
