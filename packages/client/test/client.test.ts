import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { objectAnswer } from '@millrace/api';
import { type Bytes, MillraceError, parse, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import type { Installation } from '@millrace/cli';
import { type InstallationSession, openSession } from '@millrace/cli';
import { encodeOpening, parseCheckpoint, parseNote, SALT_LENGTH } from '@millrace/ledger';
import { contentKeysInfo, nodeOf, readTransaction, registrationHash, sealToBox } from '@millrace/protocol';
import { FakeCloud } from '@millrace/testkit/client/fake-cloud';
import { codeOf, testInstallation } from '@millrace/testkit/client/helpers';
import { ownedDesign } from '@millrace/testkit/client/owned-design';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { auditLedger } from '../src/audit.ts';
import { checkCertificate, trustOf } from '../src/certificates.ts';
import { grantLicence } from '../src/licence.ts';
import { findPrepared, sweepPreparations, writePrepared } from '../src/node/prepared.ts';
import { openReport } from '../src/owner-view.ts';
import { pick } from '../src/pick.ts';
import { type PreparedDesign, SEALED_BYTES } from '../src/prepared.ts';
import { overheadOf, type PrintLook, requestPrint, requireCompleted, watchPrint } from '../src/print.ts';
import { registerAll } from '../src/registration.ts';
import { signNew } from '../src/transactions.ts';
import { storeDesign } from '../src/upload.ts';

let installation: Installation;
let cloud: FakeCloud;
const sessions: InstallationSession[] = [];

beforeEach(async () => {
  installation = await testInstallation();
  cloud = await FakeCloud.start(installation);
});
afterEach(async () => {
  for (const session of sessions.splice(0)) session.close();
  await cloud.close();
});

async function as(
  user: string,
  changes: { signal?: AbortSignal; patienceMs?: number } = {},
): Promise<InstallationSession> {
  const options = { installation, user, clock: systemClock, random: systemRandom, ...changes };
  const session = await openSession(options);
  sessions.push(session);
  return session;
}

async function registered(): Promise<void> {
  await registerAll(await as('admin'));
}

const source = { path: '/some/part.gcode', size: 40_000, mtimeMs: 1 };
let design: string;

/** Three placeholder segments with different content, and content keys that are sealed for real. */
async function prepare(owner: InstallationSession, segments = 3): Promise<PreparedDesign> {
  const writer = await writePrepared(join(owner.user.folder, 'uploads'), systemRandom);
  for (let i = 0; i < segments; i += 1) await writer.append(new Uint8Array(SEALED_BYTES).fill(i));
  const owned = await ownedDesign(installation, segments);
  design = owned.design;
  const info = contentKeysInfo(design, owner.signer.publicKey);
  const keys = await sealToBox(cloud.box.body, info, new Uint8Array(96).fill(7));
  const state = { version: 1 as const, design, name: 'part', segments, size: 40_000, source };
  return writer.finish(state, owned.bytes, keys);
}

describe('registration', () => {
  it('registers users and the machine once', async () => {
    await registered();
    expect([...cloud.users.keys()].sort()).toEqual(installation.description.users.map(({ user }) => user).sort());
    const [machine] = [...cloud.machines.values()];
    const own = installation.description.machines[0]?.registration;
    expect(machine?.machine).toBe(own?.machine);
    await registered();
    expect(cloud.machines.size).toBe(1);
  });

  it('is rejected for any user but the administrator', async () => {
    cloud.intercept = ({ method, user }) => {
      const admin = installation.description.users.find(({ name }) => name === 'admin')?.user;
      if (method === 'POST' && user !== admin) throw new MillraceError('E_FORBIDDEN', 'only the administrator');
      return undefined;
    };
    expect(await codeOf(as('owner').then(registerAll))).toMatch(/E_FORBIDDEN|E_AUTH/);
  });
});

describe('storing a design', () => {
  it('uploads, waits, and removes the local copy', async () => {
    await registered();
    const owner = await as('owner');
    const steps: string[] = [];
    const prepared = await prepare(owner);
    const view = await storeDesign(owner, prepared, (step, done, total) => steps.push(`${step} ${done}/${total}`));
    expect(view).toMatchObject({ design, state: 'stored' });
    expect([...cloud.uploads].sort().map(([i, bytes]) => [i, bytes.length, bytes[0]])).toEqual([
      [0, SEALED_BYTES, 0],
      [1, SEALED_BYTES, 1],
      [2, SEALED_BYTES, 2],
    ]);
    expect(cloud.keys).toEqual(new Uint8Array(96).fill(7));
    expect(steps.at(0)).toBe('uploading 0/3');
    expect(steps).toContain('uploading 3/3');
    expect(steps.at(-1)).toBe('storing 3/3');
    expect(await readdir(join(owner.user.folder, 'uploads'))).toEqual([]);
  });

  it('resumes an interrupted upload and sends only what is missing', async () => {
    await registered();
    const owner = await as('owner', { patienceMs: 0 });
    cloud.intercept = ({ method, path }) => {
      if (method === 'PUT' && path.endsWith('/16')) throw new MillraceError('E_DISK_FULL', 'the disk is full');
      return undefined;
    };
    expect(await codeOf(storeDesign(owner, await prepare(owner, 40), () => undefined))).toBe('E_DISK_FULL');
    cloud.intercept = () => undefined;
    cloud.log.length = 0;
    const uploads = join(owner.user.folder, 'uploads');
    expect(await findPrepared(uploads, { ...source, mtimeMs: 2 })).toBeUndefined();
    const prepared = await findPrepared(uploads, source);
    if (prepared === undefined) throw new Error('the prepared design is gone');
    await storeDesign(owner, prepared, () => undefined);
    expect(cloud.log.filter((line) => line.startsWith('PUT'))).toEqual([`PUT /v1/uploads/${design}/16`]);
    expect(cloud.log.filter((line) => line.startsWith('POST /v1/transactions'))).toEqual([]);
  });

  it('keeps at most eight uploads in flight', async () => {
    await registered();
    let now = 0;
    let most = 0;
    cloud.intercept = async ({ method }) => {
      if (method !== 'PUT') return undefined;
      now += 1;
      most = Math.max(most, now);
      await new Promise((resolve) => setTimeout(resolve, 2));
      now -= 1;
      return undefined;
    };
    const owner = await as('owner');
    await storeDesign(owner, await prepare(owner, 400), () => undefined);
    expect(cloud.uploads.size).toBe(400);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(8);
  });

  it('reports the code with which the vault refused', async () => {
    await registered();
    const owner = await as('owner');
    cloud.intercept = ({ method, path }) =>
      method === 'GET' && path === `/v1/designs/${design}` && cloud.designs.has(design)
        ? { ...cloud.designs.get(design)?.view, state: 'refused', code: 'E_SEGMENT', reason: 'segment 1 differs' }
        : undefined;
    await expect(storeDesign(owner, await prepare(owner), () => undefined)).rejects.toMatchObject({
      code: 'E_SEGMENT',
      message: expect.stringContaining('segment 1 differs'),
    });
  });

  it('rejects an incomplete preparation, and removes those of dead processes', async () => {
    const owner = await as('owner');
    const uploads = join(owner.user.folder, 'uploads');
    const writer = await writePrepared(uploads, systemRandom);
    await writer.append(new Uint8Array(SEALED_BYTES));
    expect(await codeOf(writer.append(new Uint8Array(5)))).toBe('E_INTERNAL');
    expect(await findPrepared(uploads, source)).toBeUndefined();
    await sweepPreparations(uploads, () => false);
    expect(await readdir(uploads)).toHaveLength(1); // this process is alive
    await writer.abandon();
    expect(await readdir(uploads)).toEqual([]);
  });
});

describe('licence and print', () => {
  async function licensed(objects = 2): Promise<string> {
    await registered();
    const owner = await as('owner');
    await storeDesign(owner, await prepare(owner), () => undefined);
    const terms = { design, objects, machines: ['virtual-1'], materials: ['PLA'], days: 30, holder: 'operator' };
    return grantLicence(owner, terms);
  }

  it('names the machine as registered, and seals a fresh secret to the keys node', async () => {
    const first = await licensed();
    const owner = await as('owner');
    const second = await grantLicence(owner, {
      design,
      objects: 1,
      machines: ['virtual-1'],
      materials: [],
      days: 1,
      holder: 'operator',
    });
    const licence = cloud.licences.get(first);
    const own = owner.contacts.machines[0]?.registration();
    if (own === undefined || licence === undefined) throw new Error('nothing was licensed');
    expect(toHex(licence.body.machines[0]?.registration ?? new Uint8Array())).toBe(toHex(registrationHash(own)));
    expect(licence.secret).toHaveLength(32);
    expect(licence.secret).not.toEqual(cloud.licences.get(second)?.secret);
  });

  it('shows the owner the machine’s position, and the holder only what is disclosed', async () => {
    const licence = await licensed(1);
    const [owner, operator] = [await as('owner'), await as('operator')];
    const machine = installation.description.machines[0]?.registration.machine ?? '';
    const print = await requestPrint(operator, licence, machine);
    const [asOwner, asHolder]: [PrintLook[], PrintLook[]] = [[], []];
    const made = await watchPrint(owner, print, (look) => asOwner.push(look));
    const seen = await watchPrint(operator, print, (look) => asHolder.push(look));
    expect(asOwner.at(-1)?.own).toMatchObject({ line: 8, layer: 2 });
    expect(made.facts).toEqual({ lines: 9, layers: 2, bytes: 40_000, filamentMm: 5_000 });
    expect(asHolder.at(-1)?.own).toBeUndefined();
    expect(asHolder.at(-1)?.machine).toMatchObject({ temperatures: { hotend: 215 }, buffer: 2.5 });
    expect(seen.facts).toBeUndefined();
  });

  it('rejects a report of another object, or signed by another key than the event’s actor', async () => {
    const licence = await licensed(2);
    const [owner, operator] = [await as('owner'), await as('operator')];
    const machine = installation.description.machines[0]?.registration.machine ?? '';
    await requestPrint(operator, licence, machine);
    await requestPrint(operator, licence, machine);
    const eventOf = async (number: number) => {
      const event = (await owner.api.object(`${licence}-${number}`)).events.at(-1);
      if (event?.report === undefined) throw new Error('no report');
      return { ...event, report: event.report };
    };
    const [first, second] = [await eventOf(1), await eventOf(2)];
    expect(await openReport(owner, `${licence}-1`, first)).toMatchObject({ line: 9 });
    expect(await codeOf(openReport(owner, `${licence}-1`, second))).toBe('E_INPUT');
    expect(await codeOf(openReport(owner, `${licence}-1`, { ...first, actor: 'a'.repeat(32) }))).toBe('E_AUTH');
    const other = {
      ...first.report,
      signed: first.report.signed.replace(/^.{600}/, (text) => text.replace(/a/g, 'b')),
    };
    expect(await codeOf(openReport(owner, `${licence}-1`, { ...first, report: other }))).toMatch(/^E_/);
  });

  it('prints as often as the licence allows, each with a certificate that verifies offline', async () => {
    const licence = await licensed(2);
    const operator = await as('operator');
    const machine = installation.description.machines[0]?.registration.machine ?? '';
    for (const number of [1, 2]) {
      const looks: string[] = [];
      const outcome = await watchPrint(operator, await requestPrint(operator, licence, machine), ({ view }) =>
        looks.push(view.state),
      );
      requireCompleted(outcome);
      expect(outcome.view.object).toBe(`${licence}-${number}`);
      const bytes = await operator.api.certificate(`${licence}-${number}`);
      const summary = await checkCertificate(bytes, trustOf(installation));
      expect(summary).toMatchObject({
        object: `${licence}-${number}`,
        state: 'completed',
        design,
        licence,
        number,
        of: 2,
        signatures: 10,
      });
    }
    expect(await codeOf(requestPrint(operator, licence, machine))).toBe('E_LICENCE_EXHAUSTED');
  });

  it('signs a print for 15 minutes by default', async () => {
    const operator = await as('operator');
    const machine = '0'.repeat(32);
    const expiryOf = async (body: Parameters<typeof signNew>[1]) => {
      const { issued, expires } = readTransaction((await signNew(operator, body)).bytes);
      return (expires - issued) / 60_000;
    };
    expect(await expiryOf({ type: 'print.request', licence: machine, machine })).toBe(15);
    const long = await signNew(
      operator,
      { type: 'print.request', licence: machine, machine },
      systemRandom(16),
      3_600_000,
    );
    const { issued, expires } = readTransaction(long.bytes);
    expect(expires - issued).toBe(3_600_000);
    expect(await expiryOf({ type: 'design.delete', design })).toBe(10);
  });

  it('rejects a certificate with one changed byte anywhere, and one of another log', async () => {
    const licence = await licensed(1);
    const operator = await as('operator');
    const machine = installation.description.machines[0]?.registration.machine ?? '';
    await requestPrint(operator, licence, machine);
    const bytes = await operator.api.certificate(`${licence}-1`);
    const trust = trustOf(installation);
    await checkCertificate(bytes, trust);
    const step = Math.max(1, Math.floor(bytes.length / 150));
    for (let at = 0; at < bytes.length; at += step) {
      const changed = bytes.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(await codeOf(checkCertificate(changed, trust))).toMatch(/^E_(CERTIFICATE|LEDGER_\w+|INPUT)$/);
    }
    const other = await testInstallation();
    expect(await codeOf(checkCertificate(bytes, trustOf(other)))).toBe('E_LEDGER_CHECKPOINT');
    expect(await codeOf(checkCertificate(bytes, { ...trust, logKey: 'not a key' }))).toBe('E_INPUT');
  });

  it('computes the overhead from the hints received, at both orders', () => {
    const received = { wire: 175_159 };
    expect(overheadOf({ ...received, hints: 10 * 5_462 }, 24, 5)).toBeCloseTo(1.07, 5);
    expect(overheadOf({ ...received, hints: 10 * 8_193 }, 16, 5)).toBeCloseTo(1.07, 5);
    expect(overheadOf({ ...received, hints: 10 * 8_193 }, undefined, 5)).toBeCloseTo(2.14, 2);
    expect(overheadOf({ wire: 2_000, hints: 0 }, 24, 0)).toBeUndefined();
  });

  it('ends with the code of a failed print', async () => {
    const licence = await licensed(1);
    const operator = await as('operator');
    const machine = installation.description.machines[0]?.registration.machine ?? '';
    const print = await requestPrint(operator, licence, machine);
    const states = ['queued', 'running', 'alarmed'];
    cloud.intercept = ({ path }) =>
      path === `/v1/prints/${print}`
        ? { ...cloud.prints.get(print), state: states.shift(), reason: 'too fast' }
        : undefined;
    const outcome = await watchPrint(operator, print, () => undefined);
    expect(() => requireCompleted(outcome)).toThrow(
      expect.objectContaining({ code: 'E_ALARM', message: expect.stringContaining('too fast') }),
    );
  });
});

describe('the ledger audit', () => {
  async function filled(events: number): Promise<InstallationSession> {
    for (let i = 0; i < events; i += 1) {
      await cloud.ledger.append({
        account: `machine:${i % 7}`,
        type: 'machine',
        actor: 'a',
        body: { i },
        eventId: `e${i}`,
      });
    }
    return as('owner');
  }

  it('recomputes the log, and compares it with the previous head', async () => {
    const owner = await filled(300);
    // Control logs a root of the map of accounts for the audit, in an account of its own.
    const first = { size: 301, accounts: 8, newest: 7, absent: 0, seen: undefined };
    expect(await auditLedger(owner, () => undefined)).toMatchObject(first);
    await filled(310);
    expect(await auditLedger(owner, () => undefined)).toMatchObject({ size: 312, newest: 8, seen: 301 });
    // Nothing has changed since the last root.
    expect(await auditLedger(owner, () => undefined)).toMatchObject({ size: 312, seen: 312 });
  });

  it('refuses a head of another history, and one that the log has not reached', async () => {
    const owner = await filled(20);
    const audit = (size: number, root: Uint8Array) =>
      codeOf(auditLedger(owner, () => undefined, undefined, [{ size, root }]));
    const { size, root } = parseCheckpoint(parseNote(cloud.ledger.checkpoint()).text);
    expect(await audit(size, root)).toBe('no error');
    expect(await audit(size, new Uint8Array(32))).toBe('E_LEDGER_PROOF');
    expect(await audit(99, root)).toBe('E_LEDGER_TRUNCATED');
  });

  it('detects a changed entry, a missing entry, and a truncated log', async () => {
    const owner = await filled(20);
    const tile = await cloud.ledger.tile('tile/entries/000.p/20');
    const changed = tile.slice();
    changed[7 * 35 + 20] = (changed[7 * 35 + 20] ?? 0) ^ 1;
    cloud.intercept = ({ path }) => (path.includes('/tile/entries/') ? changed : undefined);
    expect(await codeOf(auditLedger(owner, () => undefined))).toBe('E_LEDGER_ENTRY');
    cloud.intercept = ({ path }) => (path.includes('/tile/entries/') ? new Uint8Array() : undefined);
    expect(await codeOf(auditLedger(owner, () => undefined))).toBe('E_LEDGER_TRUNCATED');
    const entry = await cloud.ledger.entry(3);
    const other = encodeOpening({ ...entry.event, actor: 'b' }, entry.opening.subarray(0, SALT_LENGTH));
    const items = [{ index: 3, opening: toBase64(other) }];
    cloud.intercept = ({ path }) => (path === '/v1/ledger/openings' ? { items } : undefined);
    expect(await codeOf(auditLedger(owner, () => undefined))).toBe('E_LEDGER_ENTRY');
    const early = cloud.ledger.checkpoint();
    cloud.intercept = () => undefined;
    await filled(25);
    await auditLedger(owner, () => undefined);
    cloud.intercept = ({ path }) => (path === '/v1/ledger/checkpoint' ? early : undefined);
    await expect(auditLedger(owner, () => undefined)).rejects.toMatchObject({
      code: 'E_LEDGER_TRUNCATED',
      message: 'the log has 20 entries; it had 26 when it was last verified',
    });
    const forged = early.slice();
    forged[forged.length - 3] = (forged[forged.length - 3] ?? 0) ^ 1;
    cloud.intercept = ({ path }) => (path === '/v1/ledger/checkpoint' ? forged : undefined);
    expect(await codeOf(auditLedger(owner, () => undefined))).toBe('E_LEDGER_CHECKPOINT');
  });
});

describe('errors of calls', () => {
  it('have the code, message and data that the node answered', async () => {
    cloud.intercept = () => {
      throw new MillraceError('E_MATERIAL', 'PLA is loaded', { data: { loaded: 'PLA' } });
    };
    await expect((await as('owner')).api.status()).rejects.toMatchObject({
      code: 'E_MATERIAL',
      message: 'PLA is loaded',
      data: { loaded: 'PLA' },
    });
  });

  it('are E_UNAVAILABLE for an object name that is a path', async () => {
    const life = { owner: '00'.repeat(16), inspectors: [], retired: false };
    const view = { object: '../../elsewhere', state: 'completed', life, events: [] };
    expect(() => parse(objectAnswer, view, 'answer', 'E_UNAVAILABLE')).toThrow('LICENCE-NUMBER');
    expect(objectAnswer.parse({ ...view, object: `${design}-1` })).toMatchObject({ state: 'completed' });
  });

  it('are E_UNAVAILABLE for an invalid answer', async () => {
    cloud.intercept = () => ({ nodes: 'none' });
    expect(await codeOf((await as('owner', { patienceMs: 0 })).api.status())).toBe('E_UNAVAILABLE');
  });

  it('include a server certificate that is not the pinned one', async () => {
    const { directory } = installation;
    const { fingerprint } = nodeOf(directory, 'keys');
    const nodes = directory.nodes.map((node) => (node.role === 'control' ? { ...node, fingerprint } : node));
    installation = { ...installation, directory: { ...directory, nodes } };
    expect(await codeOf((await as('owner', { patienceMs: 0 })).api.status())).toBe('E_AUTH');
  });

  it('are retried while a node is temporarily unavailable', async () => {
    let failures = 3;
    cloud.intercept = () => {
      failures -= 1;
      if (failures >= 0) throw new MillraceError('E_UNAVAILABLE', 'starting');
      return undefined;
    };
    expect(await (await as('owner')).api.status()).toHaveProperty('nodes');
    await cloud.close();
    expect(await codeOf((await as('owner', { patienceMs: 100 })).api.status())).toBe('E_UNAVAILABLE');
  });

  it('resubmit the same transaction after a lost answer, and it takes effect once', async () => {
    await registered();
    const owner = await as('owner');
    await storeDesign(owner, await prepare(owner), () => undefined);
    const terms = { design, objects: 1, machines: ['virtual-1'], materials: [], days: 1, holder: 'operator' };
    const bodies: Bytes[] = [];
    cloud.intercept = async (request) => {
      if (request.path !== '/v1/transactions') return undefined;
      bodies.push(request.body);
      if (bodies.length > 1) return undefined;
      // The request is executed, but the answer is lost.
      await cloud.answer(request);
      throw new MillraceError('E_TIMEOUT', 'no answer');
    };
    const licence = await grantLicence(owner, terms);
    expect(bodies).toHaveLength(2);
    expect(bodies[0]).toEqual(bodies[1]);
    expect([...cloud.licences.keys()]).toEqual([licence]);
  });

  it('end at once when the user interrupts', async () => {
    await registered();
    const stop = new AbortController();
    const owner = await as('owner', { signal: stop.signal });
    cloud.intercept = () => {
      stop.abort(new Error('interrupted'));
      throw new MillraceError('E_UNAVAILABLE', 'starting');
    };
    await expect(owner.api.status()).rejects.toThrow();
    expect(stop.signal.aborted).toBe(true);
  });
});

describe('look-up by name', () => {
  const things = [
    { id: 'aabbccdd', name: 'one' },
    { id: 'aabbeeff', name: 'two' },
  ];
  const find = (wanted: string) => pick('thing', wanted, things, ({ id, name }) => [id, name]);

  it('accepts a full name or a unique prefix, and rejects an ambiguous one', async () => {
    expect(find('two')).toBe(things[1]);
    expect(find('aabbe')).toBe(things[1]);
    expect(await codeOf(() => find('aabb'))).toBe('E_INPUT');
    expect(await codeOf(() => find('aab'))).toBe('E_NOT_FOUND');
    expect(await codeOf(() => find('three'))).toBe('E_NOT_FOUND');
  });
});
