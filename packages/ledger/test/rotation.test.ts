import { codeOf, signer as former, MemoryStore, origin, stepClock, story } from '@millrace/testkit/ledger/helpers';
import { describe, expect, test } from 'vitest';
import {
  checkLedger,
  ed25519NoteSigner,
  exportCertificate,
  formatVerifierKey,
  type LedgerStore,
  type NoteSigner,
  openCheckpoint,
  openLedger,
  parseVerifierKey,
  verifyCertificate,
} from '../src/index.ts';

// A log whose key is rotated goes on under the same origin (spec/ledger.md, "Rotating the key").

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
  test('signs what the former one signed, and both sign while both count', async () => {
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

  test('signs alone after that: whoever knows only the former key is told', async () => {
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

  test('opens nothing that another key signed', async () => {
    const store = await oldLog();
    expect(await codeOf(() => openLedger({ store, signer, origin, clock: stepClock() }))).toBe('E_LEDGER_CHECKPOINT');
  });

  test('is not believed beside a wrong signature in the name of the former one', async () => {
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
