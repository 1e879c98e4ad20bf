import { concatBytes, encodeCbor, utf8 } from '@millrace/base';
import {
  codeOf,
  MemoryStore,
  openTestLedger,
  request,
  story,
  storyLedger,
  witness,
} from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type CertificateParts,
  certificateToJson,
  cosign,
  decodeCertificate,
  encodeCertificate,
  exportCertificate,
  formatNote,
  formatVerifierKey,
  type Ledger,
  noteTypes,
  parseNote,
  verifyCertificate,
} from '../src/index.ts';

const refusals = new Set(['E_CERTIFICATE', 'E_LEDGER_PROOF', 'E_LEDGER_ENTRY', 'E_LEDGER_CHECKPOINT']);
const witnessKey = formatVerifierKey(witness.name, witness.publicKey, noteTypes.cosignature);

let ledger: Ledger;
let certificate: Uint8Array;
let parts: CertificateParts;
let logKey: string;

beforeAll(async () => {
  ledger = await storyLedger();
  await ledger.appendMany(story('object-2', 'licence-2', 'machine-2'));
  certificate = await exportCertificate(ledger, 'object-1');
  parts = decodeCertificate(certificate);
  logKey = ledger.logKey;
});

describe('a certificate', () => {
  test('contains the log’s events of the object, its licence and its machine', async () => {
    const verified = verifyCertificate(certificate, { logKey });
    expect(verified.object).toBe('object-1');
    expect(verified.state).toBe('completed');
    expect(verified.events).toEqual(await ledger.account('object-1'));
    expect(verified.licences).toEqual([{ account: 'licence-1', events: await ledger.account('licence-1') }]);
    expect(verified.checkpoint).toMatchObject({ origin: ledger.origin, size: 18 });
    expect(verified.machines).toEqual([{ account: 'machine-1', events: await ledger.account('machine-1') }]);
  });

  test('is rejected when any one byte is changed', async () => {
    const codes = new Set<string>();
    for (let at = 0; at < certificate.length; at++) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const bent = Uint8Array.from(certificate);
        bent[at] = (bent[at] ?? 0) ^ mask;
        const code = await codeOf(() => verifyCertificate(bent, { logKey }));
        expect(refusals, `byte ${at} ^ ${mask}`).toContain(code);
        codes.add(code);
      }
    }
    expect(codes).toEqual(refusals);
  });

  test('is rejected after other changes of a byte', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(certificate.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const bent = Uint8Array.from(certificate);
        bent[at] = (bent[at] ?? 0) ^ mask;
        expect(refusals).toContain(await codeOf(() => verifyCertificate(bent, { logKey })));
      }),
      { numRuns: 2000 },
    );
  });

  test('is rejected when truncated at any length, or extended', async () => {
    for (let length = 0; length < certificate.length; length++) {
      expect(refusals).toContain(await codeOf(() => verifyCertificate(certificate.subarray(0, length), { logKey })));
    }
    for (const more of [0, 1, 0x0a, 0xf6, 0xff]) {
      expect(refusals).toContain(
        await codeOf(() => verifyCertificate(concatBytes(certificate, Uint8Array.of(more)), { logKey })),
      );
    }
  });

  test('returns an error that names the fault', async () => {
    const bend = (change: (copy: CertificateParts) => void) => () => {
      const copy = structuredClone(parts);
      change(copy);
      return verifyCertificate(encodeCertificate(copy), { logKey });
    };
    const cases: [(copy: CertificateParts) => void, string, string][] = [
      [(c) => void c.entries.splice(4, 1), 'E_LEDGER_ENTRY', 'has sequence 3, expected 2'],
      [(c) => void c.entries.splice(0, 1), 'E_CERTIFICATE', 'it lacks the machine machine-1'],
      [(c) => void c.entries.splice(1, 1), 'E_CERTIFICATE', 'it lacks the licence licence-1'],
      [(c) => void c.entries.reverse(), 'E_CERTIFICATE', 'not in the order of the log'],
      [(c) => void c.entries.splice(1), 'E_CERTIFICATE', 'no event of the object object-1'],
      [(c) => Object.assign(c, { object: 'licence-1' }), 'E_CERTIFICATE', 'licence-1 is a licence, not an object'],
      [(c) => Object.assign(c.entries[8] ?? {}, { index: 10 }), 'E_LEDGER_PROOF', 'the proof of entry 10'],
      [(c) => void c.entries[2]?.proof.reverse(), 'E_LEDGER_PROOF', 'the proof of entry 2'],
      [(c) => Object.assign(c, { checkpoint: utf8('x') }), 'E_LEDGER_CHECKPOINT', 'signed note'],
    ];
    for (const [change, code, message] of cases) {
      expect(bend(change)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
    }
    const bare = concatBytes(utf8('millrace-certificate/1\n'), encodeCbor({ ...parts, extra: 1 }));
    expect(await codeOf(() => verifyCertificate(bare, { logKey }))).toBe('E_CERTIFICATE');
  });

  test('rejects entries of another account', async () => {
    const foreign = decodeCertificate(await exportCertificate(ledger, 'object-2'));
    const both = { ...parts, entries: [...parts.entries, ...foreign.entries] };
    expect(() => verifyCertificate(encodeCertificate(both), { logKey })).toThrow('which the object does not name');
  });

  test('rejects another log, and a log of the same name with another key', async () => {
    const other = formatVerifierKey(ledger.origin, witness.publicKey);
    expect(await codeOf(() => verifyCertificate(certificate, { logKey: other }))).toBe('E_LEDGER_CHECKPOINT');
    expect(
      await codeOf(() => verifyCertificate(certificate, { logKey: formatVerifierKey('x.example', witness.publicKey) })),
    ).toBe('E_LEDGER_CHECKPOINT');
    expect(await codeOf(() => verifyCertificate(certificate, { logKey: 'nonsense' }))).toBe('E_INPUT');
  });

  test('can require witnesses; ignores signatures of unknown witnesses', async () => {
    const note = parseNote(ledger.checkpoint());
    const stranger = { ...witness, name: 'stranger.example' };
    const lines = [await cosign(note.text, 1_700_000_000, witness), await cosign(note.text, 1_700_000_000, stranger)];
    const checkpoint = formatNote({ text: note.text, signatures: [...note.signatures, ...lines] });
    const witnessed = await exportCertificate(ledger, 'object-1', { checkpoint, witnesses: [witnessKey] });
    const verified = verifyCertificate(witnessed, { logKey, witnesses: [witnessKey], quorum: 1 });
    expect(verified.checkpoint.cosignatures).toEqual([{ name: witness.name, time: 1_700_000_000 }]);
    expect(verified.checkpoint.unknownSignatures).toBe(0);
    expect(await codeOf(() => verifyCertificate(certificate, { logKey, witnesses: [witnessKey], quorum: 1 }))).toBe(
      'E_LEDGER_CHECKPOINT',
    );
    expect(verifyCertificate(witnessed, { logKey }).checkpoint.unknownSignatures).toBe(1);
  });

  test('can be made only for an existing object, under a checkpoint of this log', async () => {
    expect(await codeOf(() => exportCertificate(ledger, 'object-9'))).toBe('E_NOT_FOUND');
    expect(await codeOf(() => exportCertificate(ledger, 'licence-1'))).toBe('E_INPUT');
    for (const kind of ['licence', 'machine']) {
      const bad = await openTestLedger(new MemoryStore());
      await bad.appendMany([request('o', 'ordered'), request('o', 'licensed', { body: { [kind]: 'nowhere' } })]);
      expect(await codeOf(() => exportCertificate(bad, 'o'))).toBe('E_CERTIFICATE');
    }
  });

  test('contains the state at its checkpoint while others append', async () => {
    const store = new MemoryStore();
    const busy = await openTestLedger(store);
    await busy.appendMany(story());
    const old = busy.checkpoint();
    await busy.append(request('object-1', 'retired'));
    const then = verifyCertificate(await exportCertificate(busy, 'object-1', { checkpoint: old }), {
      logKey: busy.logKey,
    });
    expect(then.state).toBe('completed');
    const now = verifyCertificate(await exportCertificate(busy, 'object-1'), { logKey: busy.logKey });
    expect(now.state).toBe('retired');
  });

  test('renders a human-readable view', () => {
    const view = JSON.stringify(certificateToJson(certificate));
    expect(view).toContain('"type":"completed"');
    expect(view).toContain('ledger.example/one');
  });
});
