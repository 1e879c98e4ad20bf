import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, MillraceError, silentLogger, systemClock, systemRandom } from '@millrace/base';
import {
  formatAddCheckpoint,
  type Ledger,
  openCheckpoint,
  parseCosignatures,
  parseNote,
  parseVerifierKey,
  parseWitnessSize,
  requestCosignature,
  verifyCosignature,
} from '@millrace/ledger';
import { callPublic } from '@millrace/protocol';
import { MemoryStore, openTestLedger, request } from '@millrace/testkit/ledger/helpers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWitness, openWitnessFolder, serveWitness, type WitnessFolder, witnessFiles } from '../src/index.ts';

let closer: Closer;
let path: string;
let ledger: Ledger;
/** A fork of the log under the same key. */
let fork: Ledger;
beforeEach(async () => {
  closer = new Closer();
  path = await mkdtemp(join(tmpdir(), 'millrace-witness-'));
  closer.add({ close: () => rm(path, { recursive: true, force: true }) });
  [ledger, fork] = [await openTestLedger(new MemoryStore()), await openTestLedger(new MemoryStore())];
  await grow(ledger, 5);
  await grow(fork, 5, 'fork');
});
afterEach(() => closer.close());

const grow = async (log: Ledger, by: number, name = 'machine') => {
  for (let n = 0; n < by; n++) await log.append(request(`${name}-${log.size}`, 'machine'));
};

const open = (more: { name?: string; logs?: readonly string[] } = {}) =>
  openWitnessFolder({ path, name: 'witness.example/w1', logs: [ledger.logKey], random: systemRandom, ...more });
const witnessOf = (folder: WitnessFolder) => createWitness({ folder, clock: systemClock, logger: silentLogger });

/** A witness behind HTTP, and a client of it. */
async function start(folder?: WitnessFolder) {
  const witness = witnessOf(folder ?? (await open()));
  const address = { host: '127.0.0.1', port: 0 };
  const server = closer.add(await serveWitness({ witness, address, logger: silentLogger }));
  const url = new URL(`http://127.0.0.1:${server.address.port}/add-checkpoint`);
  const post = (body: Uint8Array) => callPublic({ url, body, maxBytes: 65_536 });
  const add = async (log: Ledger, old: number) =>
    post(formatAddCheckpoint({ old, proof: await log.proveConsistency(old), checkpoint: log.checkpoint() }));
  const ask = (log: Ledger) =>
    requestCosignature({
      ...{ witness: parseVerifierKey(witness.key), checkpoint: log.checkpoint(), old: 0, post },
      prove: (old) => log.proveConsistency(old),
    });
  return { witness, url, post, add, ask };
}

describe('a witness behind HTTP', () => {
  it('answers 200 with a cosignature line that verifies', async () => {
    const { witness, add } = await start();
    const before = Math.floor(Date.now() / 1000);
    const { status, body } = await add(ledger, 0);
    expect(status).toBe(200);
    const [line, ...others] = parseCosignatures(body);
    expect([line?.name, others.length]).toEqual(['witness.example/w1', 0]);
    const key = parseVerifierKey(witness.key);
    const time = verifyCosignature(parseNote(ledger.checkpoint()).text, key, line?.signature ?? new Uint8Array());
    expect(time).toBeGreaterThanOrEqual(before);
    const whole = new Uint8Array([...ledger.checkpoint(), ...body]);
    const opened = openCheckpoint(whole, { logKey: parseVerifierKey(ledger.logKey), witnesses: [key] });
    expect(opened.cosignatures).toHaveLength(1);
  });

  it('answers 409 with its size, 422, 404, 403, 400, 405 and 413', async () => {
    const { add, post, url } = await start();
    await add(ledger, 0);
    await grow(ledger, 3);
    const conflict = await add(ledger, 2);
    expect([conflict.status, parseWitnessSize(conflict.body)]).toEqual([409, 5]);
    const typed = await fetch(url, { method: 'POST', body: 'old 0\n\n'.concat(textOf(ledger.checkpoint())) });
    expect([typed.status, typed.headers.get('content-type'), await typed.text()]).toEqual([
      409,
      'text/x.tlog.size',
      '5\n',
    ]);
    await grow(fork, 3, 'fork');
    expect((await add(fork, 5)).status).toBe(422);
    const unknown = textOf(ledger.checkpoint()).replace('ledger.example/one', 'ledger.example/two');
    expect((await post(Buffer.from(`old 0\n\n${unknown}`))).status).toBe(404);
    const unsigned = textOf(ledger.checkpoint()).replace(/\n\n.*$/s, '\n\n— other AAAAAAAA\n');
    expect((await post(Buffer.from(`old 0\n\n${unsigned}`))).status).toBe(403);
    expect((await post(Buffer.from('old 9\n\n'.concat(textOf(ledger.checkpoint()))))).status).toBe(400);
    expect((await post(Buffer.from('nothing'))).status).toBe(400);
    expect((await post(Buffer.alloc(65_537))).status).toBe(413);
    expect((await callPublic({ url, maxBytes: 1000 })).status).toBe(405);
    const elsewhere = await callPublic({ url: new URL('/', url), body: Buffer.from('x'), maxBytes: 1000 });
    expect(elsewhere.status).toBe(404);
    // None of these requests changed what it has signed.
    expect((await add(ledger, 5)).status).toBe(200);
  });

  it('keeps two heads of one size as evidence against the log', async () => {
    const { add } = await start();
    await add(ledger, 0);
    expect((await add(fork, 5)).status).toBe(409);
    expect((await add(fork, 0)).status).toBe(409);
    const [evidence, ...others] = await readdir(join(path, witnessFiles.forks));
    expect(others).toEqual([]);
    expect(new Uint8Array(await readFile(join(path, witnessFiles.forks, evidence ?? '')))).toEqual(fork.checkpoint());
  });
});

describe('the signed heads', () => {
  it('are kept across restarts', async () => {
    const first = await start();
    await first.ask(ledger);
    const second = await start(await open({ logs: [] }));
    expect(second.witness.key).toBe(first.witness.key);
    expect((await second.add(fork, 0)).status).toBe(409);
    await grow(ledger, 2);
    expect((await second.add(ledger, 5)).status).toBe(200);
  });

  it('are on disk before a cosignature is sent; on a disk error none is sent', async () => {
    const folder = await open();
    const { add } = await start({
      ...folder,
      storeHead: () => Promise.reject(new MillraceError('E_DISK_FULL', 'the disk is full')),
    });
    const { status, body } = await add(ledger, 0);
    expect(status).toBe(500);
    expect(textOf(body)).not.toContain('witness.example');
    const next = await start(await open());
    expect((await next.add(fork, 0)).status).toBe(200);
  });

  it('form one history when two heads race', async () => {
    const { add, ask } = await start();
    await ask(ledger);
    const long = await openTestLedger(new MemoryStore());
    await grow(long, 5);
    await grow(long, 2, 'other');
    await grow(ledger, 3);
    const raced = await Promise.all(Array.from({ length: 16 }, (_, n) => add(n % 2 === 0 ? long : ledger, 5)));
    const signed = raced.flatMap(({ status }, n) => (status === 200 ? [n % 2] : []));
    expect(new Set(signed).size).toBe(1);
  });

  it('are not dropped when a file is damaged: the witness does not start', async () => {
    const { ask } = await start();
    await ask(ledger);
    const [file = ''] = await readdir(join(path, witnessFiles.heads));
    await writeFile(join(path, witnessFiles.heads, file), 'x');
    await expect(open()).rejects.toMatchObject({ code: 'E_CONFIG' });
  });
});

describe('the witness folder', () => {
  it('keeps its name and logs', async () => {
    await open();
    await expect(open({ name: 'other.example' })).rejects.toMatchObject({ code: 'E_CONFLICT' });
    const again = await openWitnessFolder({ path, random: systemRandom });
    expect(again.logs).toEqual([ledger.logKey]);
    expect((await readdir(path)).sort()).toEqual(['witness.json', 'witness.key']);
  });

  it('is not created without a name, or with invalid keys', async () => {
    const none = join(path, 'none');
    await expect(openWitnessFolder({ path: none, random: systemRandom })).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(open({ logs: ['x'] })).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(open({ name: 'a b' })).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(open({ logs: [witnessOf(await open()).key] })).rejects.toMatchObject({ code: 'E_INPUT' });
  });
});

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
