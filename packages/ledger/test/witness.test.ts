import { concatBytes, toBase64, utf8 } from '@millrace/base';
import { MemoryStore, openTestLedger, origin, request, signer, witness } from '@millrace/testkit/ledger/helpers';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  type AddCheckpoint,
  cosign,
  decideCheckpoint,
  ed25519NoteSigner,
  emptyRoot,
  formatAddCheckpoint,
  formatCosignatures,
  formatVerifierKey,
  type Ledger,
  noteTypes,
  parseAddCheckpoint,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  requestCosignature,
  signCheckpoint,
  type WitnessedHead,
} from '../src/index.ts';

const logKey = parseVerifierKey(formatVerifierKey(origin, signer.publicKey));
const logs = new Map([[origin, [logKey]]]);
const witnessKey = parseVerifierKey(formatVerifierKey(witness.name, witness.publicKey, noteTypes.cosignature));
const none = () => undefined;
const headOf = (checkpoint: Uint8Array): WitnessedHead => parseCheckpoint(parseNote(checkpoint).text);

let ledger: Ledger;
let fork: Ledger;
/** Checkpoints by size. */
const at: Uint8Array[] = [];
const forkAt: Uint8Array[] = [];
beforeAll(async () => {
  ledger = await openTestLedger(new MemoryStore());
  fork = await openTestLedger(new MemoryStore());
  for (let size = 0; size <= 9; size++) {
    at.push(ledger.checkpoint());
    forkAt.push(fork.checkpoint());
    await ledger.append(request(`machine-${size}`, 'machine'));
    await fork.append(request(`machine-${size === 3 ? 'x' : size}`, 'machine'));
  }
});

const add = async (log: Ledger, heads: readonly Uint8Array[], old: number, size: number): Promise<AddCheckpoint> => ({
  old,
  proof: await log.proveConsistency(old, size),
  checkpoint: heads[size] as Uint8Array,
});

describe('an add-checkpoint request', () => {
  it('is encoded as in C2SP tlog-witness', async () => {
    const asked = await add(ledger, at, 3, 8);
    const bytes = formatAddCheckpoint(asked);
    const [proof, ...rest] = new TextDecoder().decode(bytes).split('\n\n');
    expect(proof).toBe(['old 3', ...asked.proof.map(toBase64)].join('\n'));
    expect(`${rest.join('\n\n')}`).toBe(new TextDecoder().decode(asked.checkpoint));
    expect(parseAddCheckpoint(bytes)).toEqual(asked);
  });

  const hash = toBase64(new Uint8Array(32));
  it.each([
    '',
    'old 1',
    'old 1\n',
    'old 01\n\n',
    'old -1\n\n',
    'old 1 \n\n',
    'Old 1\n\n',
    'old 9007199254740992\n\n',
    `old 1\n${hash}=\n\n`,
    `old 1\n${hash.slice(4)}\n\n`,
    `old 1\n${Array(64).fill(hash).join('\n')}\n\n`,
    'old 1\r\n\r\n',
  ])('is rejected when it is %j', (text) => {
    expect(() => parseAddCheckpoint(concatBytes(utf8(text)))).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });

  it('is rejected when it is not UTF-8, or too long', () => {
    expect(() => parseAddCheckpoint(Uint8Array.of(0xff))).toThrow('UTF-8');
    expect(() => parseAddCheckpoint(utf8(`old 1\n\n${'x'.repeat(65_536)}`))).toThrow('too long');
  });
});

describe('a witness', () => {
  it('signs the first head of a log, and each head that extends the last one', async () => {
    for (let old = 0; old <= 9; old++) {
      for (let size = old; size <= 9; size++) {
        const last = old === 0 ? none : () => headOf(at[old] as Uint8Array);
        const decision = decideCheckpoint(await add(ledger, at, old, size), logs, last);
        expect([old, size, decision.status]).toEqual([old, size, 200]);
      }
    }
  });

  it('rejects unknown logs, and heads without the log’s signature', async () => {
    const asked = await add(ledger, at, 0, 5);
    expect(decideCheckpoint(asked, new Map(), none).status).toBe(404);
    const other = ed25519NoteSigner(origin, new Uint8Array(32).fill(1));
    const forged = await signCheckpoint({ origin, size: 5, root: new Uint8Array(32) }, other);
    expect(decideCheckpoint({ ...asked, checkpoint: forged }, logs, none).status).toBe(403);
    // The correct name and key id over another text.
    const { text, signatures } = parseNote(at[5] as Uint8Array);
    const lines = formatCosignatures(signatures);
    const moved = concatBytes(utf8(`${text.replace('\n5\n', '\n6\n')}\n`), lines);
    expect(decideCheckpoint({ ...asked, checkpoint: moved }, logs, none).status).toBe(403);
    expect(decideCheckpoint({ ...asked, checkpoint: utf8('x\n\n') }, logs, none).status).toBe(400);
  });

  it('returns its size when the old size in the request differs', async () => {
    const last = () => headOf(at[5] as Uint8Array);
    for (const old of [0, 4, 6]) {
      const decision = decideCheckpoint(await add(ledger, at, old, 8), logs, last);
      expect(decision).toMatchObject({ status: 409, size: 5 });
      expect(decision).not.toHaveProperty('fork');
    }
    // A head smaller than the last one, with a correct proof.
    expect(decideCheckpoint(await add(ledger, at, 3, 4), logs, last)).toMatchObject({ status: 409, size: 5 });
    expect(decideCheckpoint({ ...(await add(ledger, at, 3, 4)), old: 5 }, logs, last).status).toBe(400);
  });

  it('does not sign a second history, whatever proof the log gives', async () => {
    const last = () => headOf(at[5] as Uint8Array);
    expect(decideCheckpoint(await add(fork, forkAt, 5, 5), logs, last)).toMatchObject({ status: 409, fork: true });
    expect(decideCheckpoint(await add(fork, forkAt, 5, 8), logs, last).status).toBe(422);
    expect(decideCheckpoint({ ...(await add(fork, forkAt, 5, 8)), proof: [] }, logs, last).status).toBe(422);
    const longer = { ...(await add(ledger, at, 5, 8)), proof: [...(await ledger.proveConsistency(5, 8)), emptyRoot()] };
    expect(decideCheckpoint(longer, logs, last).status).toBe(422);
    const unneeded = { ...(await add(ledger, at, 0, 8)), proof: [emptyRoot()] };
    expect(decideCheckpoint(unneeded, logs, none).status).toBe(422);
    const empty = await signCheckpoint({ origin, size: 0, root: new Uint8Array(32) }, signer);
    expect(decideCheckpoint({ old: 0, proof: [], checkpoint: empty }, logs, none)).toMatchObject({ status: 409 });
  });
});

describe('a client of a witness', () => {
  const ask = (answer: (asked: AddCheckpoint) => { status: number; body: Uint8Array } | Promise<never>, old = 0) =>
    requestCosignature({
      witness: witnessKey,
      checkpoint: at[8] as Uint8Array,
      old,
      prove: (from) => ledger.proveConsistency(from, 8),
      post: async (body) => answer(parseAddCheckpoint(body)),
    });
  const answered = (status: number, text = '') => ({ status, body: utf8(text) });

  it('gets the cosignature after it has learnt the old size', async () => {
    const line = await cosign(parseNote(at[8] as Uint8Array).text, 1_700_000_000, witness);
    const outcome = await ask(({ old }) =>
      old === 5 ? { status: 200, body: formatCosignatures([line]) } : answered(409, '5\n'),
    );
    expect(outcome).toEqual({ outcome: 'signed', signature: line, time: 1_700_000_000 });
  });

  it('rejects a cosignature by another key, or of another head', async () => {
    const stranger = ed25519NoteSigner(witness.name, new Uint8Array(32).fill(1));
    const text = parseNote(at[8] as Uint8Array).text;
    const lines = [await cosign(text, 1, stranger), await cosign(parseNote(at[7] as Uint8Array).text, 1, witness)];
    const body = formatCosignatures(lines);
    await expect(ask(() => ({ status: 200, body }))).rejects.toMatchObject({ code: 'E_SIGNATURE' });
    await expect(ask(() => answered(200, 'yes\n'))).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('reports that the witness has a larger head or another history', async () => {
    expect(await ask(() => answered(409, '9\n'))).toEqual({ outcome: 'ahead', size: 9 });
    expect(await ask(() => answered(422), 5)).toEqual({ outcome: 'conflict', size: 5 });
    expect(await ask(() => answered(409, '8\n'))).toEqual({ outcome: 'conflict', size: 8 });
  });

  it('gives up when the answers do not converge', async () => {
    let size = 0;
    const turning = ask(() => {
      size = (size % 7) + 1;
      return answered(409, `${size}\n`);
    });
    await expect(turning).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    for (const answer of [answered(404), answered(409), answered(409, 'x'), answered(500), answered(302)])
      await expect(ask(() => answer)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  });
});
