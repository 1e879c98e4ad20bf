import { concatBytes, toBase64, utf8 } from '@millrace/base';
import { codeOf, leavesByRule, naiveRoot, origin, signer, witness } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  cosign,
  formatNote,
  formatVerifierKey,
  noteTypes,
  openCheckpoint,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  signatureBy,
  signCheckpoint,
  signText,
  verifyEd25519,
} from '../src/index.ts';

const root = naiveRoot(leavesByRule(3)) as Uint8Array<ArrayBuffer>;
const logKey = parseVerifierKey(formatVerifierKey(origin, signer.publicKey));
const witnessKey = parseVerifierKey(formatVerifierKey(witness.name, witness.publicKey, noteTypes.cosignature));
const signed = () => signCheckpoint({ origin, size: 3, root }, signer);

describe('signed notes', () => {
  test('the verifier key depends on name and key; a wrong key id is rejected', async () => {
    const text = formatVerifierKey(origin, signer.publicKey);
    expect(parseVerifierKey(text)).toMatchObject({ name: origin, type: 1, publicKey: signer.publicKey });
    const [name, id, material] = text.split(/\+(?=[0-9a-f]{8}\+)|(?<=\+[0-9a-f]{8})\+/);
    expect(formatVerifierKey(name ?? '', signer.publicKey)).toBe(text);
    for (const wrong of [
      `x${text}`,
      `${name}+00000000+${material}`,
      `${name}+${id}+${material}=`,
      `${name}+${id?.toUpperCase()}x+${material}`,
      `a b+${id}+${material}`,
      '',
      formatVerifierKey(origin, signer.publicKey, 2),
    ]) {
      expect(await codeOf(() => parseVerifierKey(wrong))).toBe('E_INPUT');
    }
  });

  test('parses text strictly', async () => {
    const line = `— ${origin} ${toBase64(new Uint8Array(68))}\n`;
    expect(parseNote(utf8(`text\n\nmore\n\n${line}`)).text).toBe('text\n\nmore\n');
    for (const wrong of [
      `text\n${line}`,
      `text\n\n${line.slice(0, -1)}`,
      `text\n\n`,
      `text\n\n${line} `,
      `text\r\n\n${line}`,
      `te\0xt\n\n${line}`,
      `text\n\n${line.replace('—', '-')}`,
      `text\n\n${line.replace(origin, 'a+b')}`,
      `text\n\n${line.replace(' ', '  ')}`,
      `text\n\n${line.replace('A=\n', 'B=\n')}`,
      `text\n\n— ${origin} AAAA\n`,
      `text\n\n${line.repeat(101)}`,
      `${'x'.repeat(1_000_000)}\n\n${line}`,
    ]) {
      expect(await codeOf(() => parseNote(utf8(wrong)))).toBe('E_LEDGER_CHECKPOINT');
    }
    expect(await codeOf(() => parseNote(concatBytes(Uint8Array.of(0xff), utf8(`text\n\n${line}`))))).toBe(
      'E_LEDGER_CHECKPOINT',
    );
    expect(parseNote(utf8(`\uFEFFtext\n\n${line}`)).text).toBe('\uFEFFtext\n');
  });

  test('rejects a signer whose signature does not verify with its public key, before it signs anything', async () => {
    const broken = { ...signer, sign: () => new Uint8Array(64) };
    expect(await codeOf(() => signText('text\n', broken))).toBe('E_SIGNATURE');
    expect(await codeOf(() => signText('text', signer))).toBe('E_LEDGER_CHECKPOINT');
  });

  test('Ed25519 rejects keys and signatures of other lengths', async () => {
    const { signature } = await signText('text\n', signer);
    expect(verifyEd25519(signer.publicKey, utf8('text\n'), signature)).toBe(true);
    expect(verifyEd25519(signer.publicKey, utf8('text'), signature)).toBe(false);
    expect(verifyEd25519(signer.publicKey, utf8('text\n'), signature.subarray(1))).toBe(false);
    expect(verifyEd25519(signer.publicKey.subarray(1), utf8('text\n'), signature)).toBe(false);
  });
});

describe('checkpoints', () => {
  test('open with the log key', async () => {
    const opened = openCheckpoint(await signed(), { logKey });
    expect(opened).toMatchObject({ origin, size: 3, root, extensions: [], unknownSignatures: 0, cosignatures: [] });
  });

  test('are rejected when any one byte is changed', async () => {
    const bytes = await signed();
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const bent = Uint8Array.from(bytes);
        bent[at] = (bent[at] ?? 0) ^ mask;
        expect(await codeOf(() => openCheckpoint(bent, { logKey }))).toBe('E_LEDGER_CHECKPOINT');
      }),
    );
  });

  test('are rejected for another log, another key, or without the log’s signature', async () => {
    const bytes = await signed();
    expect(await codeOf(() => openCheckpoint(bytes, { logKey, origin: 'other.example' }))).toBe('E_LEDGER_CHECKPOINT');
    const other = parseVerifierKey(formatVerifierKey(origin, witness.publicKey));
    await expect(async () => openCheckpoint(bytes, { logKey: other })).rejects.toThrow('is not signed by');
    const note = parseNote(bytes);
    const twice = formatNote({ text: note.text, signatures: [...note.signatures, ...note.signatures] });
    expect(await codeOf(() => openCheckpoint(twice, { logKey }))).toBe('E_LEDGER_CHECKPOINT');
    expect(await codeOf(() => openCheckpoint(bytes, { logKey: witnessKey, origin }))).toBe('E_INPUT');
  });

  test('are parsed strictly', async () => {
    const hash = toBase64(root);
    expect(parseCheckpoint(`${origin}\n0\n${hash}\nextension\n`).extensions).toEqual(['extension']);
    for (const wrong of [
      `${origin}\n03\n${hash}\n`,
      `${origin}\n-1\n${hash}\n`,
      `${origin}\n9007199254740992\n${hash}\n`,
      `${origin}\n3\n${hash.slice(0, -1)}\n`,
      `${origin}\n3\n${toBase64(root.subarray(1))}\n`,
      `\n3\n${hash}\n`,
      `${origin}\n3\n${hash}`,
      `${origin}\n3\n`,
      `${origin}\n3\n${hash}\n\n`,
    ]) {
      expect(await codeOf(() => parseCheckpoint(wrong))).toBe('E_LEDGER_CHECKPOINT');
    }
  });

  test('count known witnesses whose cosignature verifies; only report the number of unknown lines', async () => {
    const note = parseNote(await signed());
    const line = await cosign(note.text, 1_700_000_000, witness);
    const bytes = formatNote({ text: note.text, signatures: [...note.signatures, line] });
    expect(openCheckpoint(bytes, { logKey }).unknownSignatures).toBe(1);
    const opened = openCheckpoint(bytes, { logKey, witnesses: [witnessKey] });
    expect(opened.cosignatures).toEqual([{ name: witness.name, time: 1_700_000_000 }]);
    expect(opened.unknownSignatures).toBe(0);
    const later = Uint8Array.from(line.signature);
    later[7] = (later[7] ?? 0) ^ 1;
    const forged = formatNote({ text: note.text, signatures: [...note.signatures, { ...line, signature: later }] });
    expect(await codeOf(() => openCheckpoint(forged, { logKey, witnesses: [witnessKey] }))).toBe('E_LEDGER_CHECKPOINT');
    expect(signatureBy(note, witnessKey)).toBeUndefined();
    expect(await codeOf(() => cosign(note.text, -1, witness))).toBe('E_INPUT');
  });
});
