import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { concatBytes, MillraceError, toHex, wipe } from '@millrace/base';
import { checkCertificate, type DesignView, type Session, trustOf } from '@millrace/client';
import type { Address } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { noisyGcode } from '@millrace/testkit/designs';
import {
  eventsOf,
  hashOf,
  license,
  machineObject,
  objectOf,
  order,
  store,
  untilEnded,
  untilPrint,
} from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { haystacksOf } from '@millrace/testkit/recorder';
import type { Recording } from '@millrace/testkit/recording';
import { type Finding, filesOf, scan } from '@millrace/testkit/scan';
import { secretsOf } from '@millrace/testkit/secrets';
import { listeningSockets, socketCount } from '@millrace/testkit/sockets';
import { uploadedSegments } from '@millrace/testkit/streams';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const design = noisyGcode(500_000);
const SEGMENTS = Math.ceil(design.length / 16_370);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let stored: DesignView;
let licence: string;
const objects: string[] = [];

beforeAll(async () => {
  system = await createTestInstallation({
    record: true,
    machine: { factor: await factorFor(design, 3) },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

/** The sealed segments that the owner's client uploaded, taken from the recorded link. */
function sealedSegments(recordings: readonly Recording[]): Uint8Array[] {
  return recordings
    .filter(({ node, role }) => node === 'distribution' && role === 'user')
    .flatMap(({ up }) => uploadedSegments(up));
}

const machineLinks = () => system.recordings().filter(({ role }) => role === 'machine');

/** The contents of the folders and logs of the four nodes and the machine. */
function* folders() {
  for (const node of ['control', 'distribution', 'segments', 'keys', 'machine'] as const)
    yield* filesOf(folderOf(system.installation, node));
  yield* filesOf(system.installation.layout.run.logs);
}

describe('the main job', () => {
  it('stores the sealed design', async () => {
    stored = await store(system, owner, design);
    expect(stored).toMatchObject({ state: 'stored', kind: 'gcode', size: design.length, segments: SEGMENTS });
    licence = await license(system, owner, stored.design, 2);
  });

  it('rehearses the design without a count', async () => {
    const rehearsed = await millrace(system.home, 'rehearse', '--licence', licence, '--json');
    expect(rehearsed.json).toMatchObject({ outcome: 'fits', policy: false });
    expect(await owner.api.licence(licence)).toMatchObject({ permitted: 0 });
  });

  it('makes two objects: the machine executes exactly the design’s bytes, no node has any run of them', async () => {
    const during: Finding[] = [];
    for (const number of [1, 2]) {
      const print = await order(system, operator, licence);
      for (const share of [0.3, 0.7]) {
        await untilPrint(
          operator,
          print,
          (view) => (view.progress?.acked ?? 0) >= share * SEGMENTS || view.state === 'completed',
        );
        during.push(...scan(folders(), design));
      }
      const view = await untilEnded(operator, print);
      expect(view).toMatchObject({ state: 'completed', object: `${licence}-${number}` });
      objects.push(objectOf(view));
      expect(await machineObject(system, objectOf(view))).toMatchObject({
        event: 'completed',
        bytes: design.length,
        sha256: hashOf(design),
        segments: SEGMENTS,
      });
    }
    expect(during).toEqual([]);
    expect(new Set(objects).size).toBe(2);
  });

  it('records the events of each object in the ledger', async () => {
    for (const object of objects) {
      const events = await eventsOf(owner, object);
      expect(events.filter((type) => type !== 'progressed')).toEqual(['ordered', 'permitted', 'started', 'completed']);
    }
  });

  it('refuses a third print', async () => {
    await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
    const cli = await millrace(system.home, 'print', '--licence', licence, '--json');
    expect(cli).toMatchObject({ exit: 3, code: 'E_LICENCE_EXHAUSTED' });
  });
});

describe('with the links decrypted', () => {
  it('every link can be read, and the machine’s link has the whole design as hints', () => {
    const recordings = system.recordings();
    const parties = new Set(recordings.map(({ role, node }) => `${role} → ${node}`));
    for (const link of ['user → control', 'user → distribution', 'segments → control', 'segments → distribution'])
      expect(parties).toContain(link);
    for (const link of ['keys → control', 'keys → distribution', 'machine → distribution', 'distribution → control'])
      expect(parties).toContain(link);
    const sealed = sealedSegments(recordings);
    expect(sealed).toHaveLength(SEGMENTS);
    expect(sealed.every(({ length }) => length === 16_386)).toBe(true);
    const down = machineLinks().reduce((sum, { down: { length } }) => sum + length, 0);
    expect(down).toBeGreaterThan(2 * design.length);
  });

  it('no link carries a 16-byte run of the design', () => {
    expect(scan(haystacksOf(system.recordings()), design)).toEqual([]);
  });

  it('no folder of a node or the machine and no log contains one', () => {
    const files = [...folders()];
    expect(files.length).toBeGreaterThan(20);
    expect(scan(files, design)).toEqual([]);
  });

  it('the machine’s link has hints, and no run of the sealed segments', () => {
    const sealed = concatBytes(...sealedSegments(system.recordings()));
    expect(scan(haystacksOf(machineLinks()), sealed)).toEqual([]);
    // Positive control: the same search finds them on the links that carried them.
    expect(scan(haystacksOf(system.recordings().filter(({ role }) => role === 'user')), sealed)).not.toEqual([]);
  });

  it('no long-lived key is in a log, on a link, or in any file except its own', async () => {
    const secrets = await secretsOf(system);
    const all = concatBytes(...secrets.map(({ bytes }) => bytes));
    const own = new Set(secrets.map(({ file }) => file));
    const files = [...folders()].filter(({ name }) => !own.has(name));
    expect(scan([...files, ...haystacksOf(system.recordings())], all)).toEqual([]);
    // Positive control: they are found in their own files.
    expect(
      scan(filesOf(folderOf(system.installation, 'keys')), all)
        .map(({ haystack }) => haystack)
        .sort(),
    ).toEqual(secrets.flatMap(({ name, file }) => (name.startsWith('keys/') ? [file] : [])).sort());
    wipe(all, ...secrets.map(({ bytes }) => bytes));
  });
});

describe('processes', () => {
  it('only control and distribution listen, on one port each, and control on the port of the public ledger', () => {
    const listening = (name: 'control' | 'distribution' | 'segments' | 'keys' | 'machine') =>
      listeningSockets(system.processes[name].pid);
    expect(listening('segments')).toEqual([]);
    expect(listening('keys')).toEqual([]);
    // No port: the socket in its own folder, for commands of the operator.
    expect(listening('machine')).toEqual([
      { protocol: 'unix', address: expect.stringMatching(/\/machines\/virtual-1\/agent\.sock$/) },
    ]);
    const { control, distribution, ledger } = system.addresses;
    const tcp = (address: Address | undefined) => ({ protocol: 'tcp', address: `${address?.host}:${address?.port}` });
    expect(listening('distribution')).toEqual([tcp(distribution)]);
    const [api, publicLedger] = [tcp(control), tcp(ledger)];
    expect(listening('control')).toHaveLength(2);
    expect(listening('control')).toEqual(expect.arrayContaining([api, publicLedger]));
    // Positive control: their outgoing sockets are found in /proc.
    for (const name of ['segments', 'keys', 'machine'] as const)
      expect(socketCount(system.processes[name].pid)).toBeGreaterThan(0);
  });
});

describe('certificates', () => {
  const files: string[] = [];

  it('of both objects verify offline', async () => {
    for (const object of objects) {
      const file = join(system.scratch, `${object}.certificate`);
      const exported = await millrace(system.home, 'certificate', 'export', object, '--out', file, '--json');
      expect(exported.exit).toBe(0);
      files.push(file);
      const verified = await millrace(
        '/nowhere',
        'certificate',
        'verify',
        file,
        '--log-key',
        owner.directory.logKey,
        '--owner',
        toHex(owner.signer.publicKey),
        '--json',
      );
      expect(verified).toMatchObject({ exit: 0, json: { valid: true, object, state: 'completed' } });
    }
  });

  it('with any changed byte are rejected', async () => {
    const bytes = new Uint8Array(await readFile(files[0] ?? ''));
    const step = Math.max(1, Math.floor(bytes.length / 150));
    const accepted: number[] = [];
    for (let at = 0; at < bytes.length; at += step) {
      const changed = new Uint8Array(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      try {
        await checkCertificate(changed, trustOf(owner));
        accepted.push(at);
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error;
        expect(error.code, `byte ${at}`).toMatch(/^E_(CERTIFICATE|LEDGER_[A-Z]+|SIGNATURE|AUTH|INPUT|PERMIT)$/);
      }
    }
    expect(accepted).toEqual([]);
    const file = join(system.scratch, 'changed.certificate');
    const changed = new Uint8Array(bytes);
    changed[bytes.length >> 1] = (changed[bytes.length >> 1] ?? 0) ^ 0x40;
    await writeFile(file, changed);
    const verified = await millrace(system.home, 'certificate', 'verify', file, '--json');
    expect(verified.exit).toBe(6);
    expect(verified.code).toMatch(/^E_(CERTIFICATE|LEDGER_[A-Z]+|SIGNATURE)$/);
  });

  it('of another log are rejected', async () => {
    const other = owner.directory.logKey.replace(/[0-9a-f]{32}/, (id) => [...id].reverse().join(''));
    const verified = await millrace('/nowhere', 'certificate', 'verify', files[0] ?? '', '--log-key', other, '--json');
    expect(verified.exit).not.toBe(0);
    expect(verified.code).toMatch(/^E_/);
  });
});

describe('the vault', () => {
  it('is clean, with every cell read', async () => {
    const check = await millrace(system.home, 'vault', 'check', '--deep', '--json');
    expect(check).toMatchObject({ exit: 0, json: { clean: true } });
  });
});
