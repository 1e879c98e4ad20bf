import { type ChildProcess, spawn } from 'node:child_process';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { auditLedger, checkCertificate, type Session, trustOf } from '@millrace/client';
import type { TlsIdentity } from '@millrace/identity';
import { openCheckpoint, parseVerifierKey } from '@millrace/ledger';
import { directoryFiles, nodeOf } from '@millrace/protocol';
import { millrace, program } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { call } from '@millrace/testkit/http';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { rotateIn } from '@millrace/testkit/rotation';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Real processes rotate keys during a print, and the object is complete.

const SEGMENTS = 40;
const design = randomDesign(SEGMENTS * 16_370);
const rate = Math.ceil(design.length / 8);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let licence: string;

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: rate, stallMs: 2_000 },
    maintenance: { periodMs: 2_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const stored = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: rate });
  licence = await license(system, owner, stored.design, 20);
});
afterAll(() => system?.close());

/** Starts a print, runs `work` once the machine has taken a segment, and expects a complete object. */
async function whilePrinting(work: () => Promise<unknown>): Promise<string> {
  const print = await order(system, operator, licence);
  await untilPrint(operator, print, ({ state, progress }) => state === 'completed' || (progress?.acked ?? 0) >= 4);
  await work();
  const view = await untilEnded(operator, print, 120_000);
  expect(view).toMatchObject({ state: 'completed' });
  const object = objectOf(view);
  expect(await machineObject(system, object)).toMatchObject({ sha256: hashOf(design) });
  return object;
}

const deletions = (identity: TlsIdentity) =>
  call(system.addresses.control, system.installation.directory, 'control', identity, {
    method: 'GET',
    path: '/v1/deletions',
  });

describe('during a print', () => {
  it('TLS keys of every node are rotated; the old ones are accepted until the overlap ends', async () => {
    const before = await system.identity('segments');
    await whilePrinting(() => rotateIn(system, 'tls'));
    expect((await system.identity('segments')).certificate).not.toBe(before.certificate);
    expect((await deletions(before)).status).toBe(200);

    await rotateIn(system, 'tls', { roles: ['segments'], overlapDays: 0 });
    expect((await deletions(await system.identity('segments'))).status).toBe(200);
    expect((await deletions(before)).status).toBe(401);
  });

  it('the permit key is rotated; permits under the former one verify', async () => {
    const former = system.installation.directory.permitKey;
    const object = await whilePrinting(() => rotateIn(system, 'permit'));
    expect(system.installation.directory.permitKey).not.toBe(former);
    const certificate = await owner.api.certificate(object);
    expect(await checkCertificate(certificate, trustOf(owner))).toMatchObject({ state: 'completed' });
  });

  it('the log key is rotated; checkpoints carry both signatures and verify with either key', async () => {
    const former = system.installation.directory.logKey;
    const object = await whilePrinting(() => rotateIn(system, 'log'));
    const { logKey } = system.installation.directory;
    expect(logKey).not.toBe(former);
    const checkpoint = await owner.api.checkpoint();
    for (const key of [former, logKey])
      expect(openCheckpoint(checkpoint, { logKey: parseVerifierKey(key) }).note.signatures).toHaveLength(2);
    const certificate = await owner.api.certificate(object);
    for (const key of [former, logKey])
      expect(await checkCertificate(certificate, { ...trustOf(owner), logKey: key })).toMatchObject({
        object,
        state: 'completed',
      });

    await rotateIn(system, 'log', { overlapDays: 0 });
    await whilePrinting(async () => undefined);
    expect(
      openCheckpoint(await owner.api.checkpoint(), { logKey: parseVerifierKey(system.installation.directory.logKey) })
        .note.signatures,
    ).toHaveLength(1);
    // A certificate from before verifies with the listed keys, and the log continues.
    expect(await checkCertificate(certificate, trustOf(owner))).toMatchObject({ object });
    expect(await auditLedger(owner, () => undefined)).toMatchObject({ log: logKey.split('+')[0] });
  });

  it('the certificate authority and every certificate are rotated', async () => {
    const before = await system.identity('operator');
    await whilePrinting(() => rotateIn(system, 'authority', { overlapDays: 0 }));
    expect((await system.identity('operator')).certificate).not.toBe(before.certificate);
    await expect(
      call(system.addresses.control, system.installation.directory, 'control', before, {
        method: 'GET',
        path: '/v1/prints',
      }),
    ).rejects.toThrow();
    const again = await system.session('operator');
    expect(await again.api.prints()).not.toHaveLength(0);
    operator = again;
    owner = await system.session('owner');
  });

  it('identity keys of every node are rotated', async () => {
    const before = nodeOf(system.installation.directory, 'keys').identity;
    await whilePrinting(() => rotateIn(system, 'identity'));
    expect(nodeOf(system.installation.directory, 'keys').identity).not.toBe(before);

    // Nodes have stored documents about each other that are signed by keys no longer accepted.
    await rotateIn(system, 'identity', { overlapDays: 0 });
    for (const role of ['control', 'segments', 'keys'] as const) await system.processes[role].restart();
    await whilePrinting(async () => undefined);
  });
});

it('a node does not start with an older directory than it has accepted', async () => {
  const folder = folderOf(system.installation, 'distribution');
  const kept = join(system.scratch, 'directory.json');
  await copyFile(join(folder, directoryFiles.directory), kept);
  await rotateIn(system, 'permit');
  await system.processes.distribution.stop();
  const newest = await readFile(join(folder, directoryFiles.directory));
  await copyFile(kept, join(folder, directoryFiles.directory));
  await expect(system.processes.distribution.start()).rejects.toThrow('before it was ready');
  expect(await system.log('distribution')).toContain('E_DIRECTORY');
  await copyFile(system.installation.layout.directory, join(folder, directoryFiles.directory));
  expect(await readFile(join(folder, directoryFiles.directory))).toEqual(newest);
  await system.processes.distribution.start();
});

describe('the commands, while `millrace up` runs', () => {
  let home: string;
  let up: ChildProcess;
  let ended: Promise<unknown>;
  beforeAll(async () => {
    home = join(system.scratch, 'second');
    expect((await millrace(home, 'init')).exit).toBe(0);
    up = spawn(process.execPath, [program, 'up', '--home', home], { stdio: 'ignore' });
    ended = new Promise((resolve) => up.once('exit', resolve));
    await vi.waitFor(async () => expect((await millrace(home, 'status')).exit).toBe(0), {
      timeout: 120_000,
      interval: 500,
    });
  });
  afterAll(async () => {
    up?.kill('SIGTERM');
    await ended;
  });

  it('act as the first people, whom `millrace up` has enrolled', async () => {
    // The nodes serve before the people are enrolled. The operator is the last one.
    await vi.waitFor(async () => expect((await millrace(home, 'licence', 'list', '--user', 'operator')).exit).toBe(0), {
      timeout: 120_000,
      interval: 500,
    });
    const list = await millrace(home, 'user', 'list', '--user', 'brand-admin', '--json');
    const keys = (list.json?.keys ?? []) as { readonly name: string; readonly inviter: { readonly name: string } }[];
    expect(keys.map(({ name, inviter }) => [name, inviter.name]).sort()).toEqual([
      ['Ada', 'admin'],
      ['Alex', 'Ada'],
      ['Dora', 'Ada'],
    ]);
    for (const user of ['owner', 'auditor', 'operator'])
      expect((await millrace(home, 'licence', 'list', '--user', user)).exit, user).toBe(0);
    const second = await millrace(home, 'org', 'list', '--json');
    expect(second.json?.organisations).toHaveLength(2);
  });

  it('rotate all keys, one node after the other, and all nodes work', async () => {
    const before = await millrace(home, 'status', '--json');
    expect(before.json).toMatchObject({ running: true, expiring: [] });
    const tls = await millrace(home, 'key', 'rotate', 'tls', '--json');
    expect(tls.json, tls.stderr).toMatchObject({
      restarted: ['control', 'distribution', 'segments', 'keys'],
      directory: 2,
    });
    const permit = await millrace(home, 'key', 'rotate', 'permit', '--overlap', '0', '--json');
    expect(permit.json, permit.stderr).toMatchObject({ restarted: ['control'], directory: 4 });
    const renewed = await millrace(home, 'renew', '--all', '--json');
    // Control renews the certificates of enrolled people.
    expect(renewed.json?.renewed, renewed.stderr).toContain('admin');
    expect(renewed.json?.renewed).not.toContain('operator');
    const after = await millrace(home, 'status', '--json');
    expect(after.exit).toBe(0);
    const processes = (after.json?.processes ?? []) as { readonly name: string; readonly restarts: number }[];
    expect(Object.fromEntries(processes.map(({ name, restarts }) => [name, restarts]))).toEqual({
      control: 3,
      distribution: 2,
      segments: 2,
      keys: 2,
      'virtual-1': 0,
    });
    expect((await millrace(home, 'ledger', 'verify')).exit).toBe(0);
    expect((await millrace(home, 'vault', 'check')).exit).toBe(0);
  });
});
