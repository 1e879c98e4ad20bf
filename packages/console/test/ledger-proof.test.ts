import type { LogSource } from '@millrace/client';
import { cosign, formatNote, formatVerifierKey, type Ledger, parseNote, signText } from '@millrace/ledger';
import { codeOf, MemoryStore, openTestLedger, request, signer, witness } from '@millrace/testkit/ledger/helpers';
import { beforeAll, describe, expect, it } from 'vitest';
import { newestEntries, proveEntry, readHead } from '../src/web/ledger-proof.ts';

const SIZE = 300;
let ledger: Ledger;
beforeAll(async () => {
  ledger = await openTestLedger(new MemoryStore());
  await ledger.appendMany(Array.from({ length: SIZE }, (_, n) => request(`machine-${n}`, 'machine')));
});

const source = (changes: Partial<LogSource> = {}): LogSource => ({
  checkpoint: async () => ledger.checkpoint(),
  tile: (path) => ledger.tile(path),
  ...changes,
});
const witnessKey = formatVerifierKey(witness.name, witness.publicKey, 0x04);
const trust = () => ({ logKeys: [ledger.logKey], witnesses: [] as string[] });

describe('the ledger in the console', () => {
  it('proves every kind of entry, and names the witnesses', async () => {
    for (const number of [0, 1, 255, 256, SIZE - 1]) {
      const { path, head, index } = await proveEntry(source(), number, trust());
      expect([index, head.size]).toEqual([number, SIZE]);
      expect(path.length).toBeGreaterThan(4);
    }
    const { text } = parseNote(ledger.checkpoint());
    const line = await cosign(text, 1_700_000_000, witness);
    const checkpoint = async () => formatNote({ text, signatures: [await signText(text, signer), line] });
    const head = await readHead(source({ checkpoint }), { ...trust(), witnesses: [witnessKey] });
    expect(head.cosignatures).toEqual([{ name: witness.name, time: 1_700_000_000 }]);
    expect((await newestEntries(source(), SIZE, 20)).map(({ index }) => index)[0]).toBe(SIZE - 1);
    expect(await newestEntries(source(), 0, 20)).toEqual([]);
  });

  it('rejects an entry that the log does not have, and changed tiles', async () => {
    for (const number of [SIZE, -1, 1.5, Number.NaN])
      expect(await codeOf(() => proveEntry(source(), number, trust()))).toBe('E_NOT_FOUND');
    const changed = (kind: RegExp) =>
      source({
        tile: async (path) => {
          const tile = Uint8Array.from(await ledger.tile(path));
          if (kind.test(path)) tile[40] = (tile[40] ?? 0) ^ 1;
          return tile;
        },
      });
    expect(await codeOf(() => proveEntry(changed(/entries/), 1, trust()))).toBe('E_LEDGER_PROOF');
    expect(await codeOf(() => proveEntry(changed(/tile\/0/), 0, trust()))).toBe('E_LEDGER_PROOF');
  });

  it('rejects a head that another key has signed', async () => {
    const { text } = parseNote(ledger.checkpoint());
    const checkpoint = async () => formatNote({ text, signatures: [await signText(text, witness)] });
    expect(await codeOf(() => proveEntry(source({ checkpoint }), 0, trust()))).toBe('E_LEDGER_CHECKPOINT');
  });
});
