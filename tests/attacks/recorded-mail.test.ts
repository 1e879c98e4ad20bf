import { cp, lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, copyBytes, decodeCbor, fromBase64 } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import type { Session } from '@millrace/client';
import { p256Key } from '@millrace/identity';
import { type BoxSecrets, contentKeysInfo, type NodeRole, openFromBox, openMessage } from '@millrace/protocol';
import { randomDesign } from '@millrace/testkit/designs';
import { license, order, store, untilEnded } from '@millrace/testkit/job';
import { filesOf } from '@millrace/testkit/scan';
import { secretsOf } from '@millrace/testkit/secrets';
import { setBoxes } from '@millrace/testkit/settings';
import { httpMessages } from '@millrace/testkit/streams';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { openSlots } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// The attacker has recorded all decrypted traffic of the nodes, and later takes every disk with every long-term key.
// Seeds, mixes, outer keys and content keys were mailed. Acknowledged mail stays in the file of control's database.

const SEGMENTS = 12;
const design = randomDesign(SEGMENTS * 16_370);
const rate = Math.ceil(design.length / 2);
const mailing = ['control', 'segments', 'keys'] as const;
type Mailing = (typeof mailing)[number];

interface Sealed {
  readonly to: Mailing;
  readonly from: NodeRole;
  readonly sealed: Uint8Array;
}

let system: TestInstallation;
let owner: Session;
let id: string;
let recorded: Sealed[];
let contentKeys: Bytes;
/** Of the segments node before it was started again: each start makes a new key. */
const earlier: Bytes[] = [];

beforeAll(async () => {
  system = await createTestInstallation({
    record: true,
    machine: { kind: 'sink', factor: 1, bytesPerSecond: rate, stallMs: 3_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await system.session('owner');
  ({ design: id } = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: rate }));
  const licence = await license(system, owner, id, 1);
  const operator = await system.session('operator');
  expect(await untilEnded(operator, await order(system, operator, licence))).toMatchObject({ state: 'completed' });
  // The keys node's mail for a stopped segments node: a step of a sweep, with keys of cells.
  const toSegments = () => recordedMail().filter(({ to, from }) => to === 'segments' && from === 'keys').length;
  const leavesMore = (than: number, timeout: number) =>
    vi.waitFor(() => expect(toSegments()).toBeGreaterThan(than), { timeout, interval: 200 });
  // No step follows one that was left unanswered when the node died: the next time it dies earlier.
  for (let attempt = 0; ; attempt++) {
    await system.processes.segments.kill();
    try {
      await leavesMore(toSegments(), 5_000);
      break;
    } catch (error) {
      if (attempt === 10) throw error;
      earlier.push(...(await boxSecrets(system.home, ['segments'])));
      await system.processes.segments.start();
      await leavesMore(toSegments(), 60_000);
    }
  }
  await stopAll();
  recorded = recordedMail();
  contentKeys = recordedContentKeys();
});
afterAll(() => system?.close());

/** The mail that the nodes sent to control, and control's own mail. */
function recordedMail(): Sealed[] {
  const mail: Sealed[] = [];
  for (const { node, role, up, down } of system.recordings()) {
    if (node !== 'control' || (role !== 'segments' && role !== 'keys')) continue;
    for (const { start, body } of httpMessages(up).messages) {
      const to = /^POST \/v1\/mailbox\/(control|segments|keys)-1\?/.exec(start)?.[1] as Mailing | undefined;
      if (to !== undefined) mail.push({ to, from: role, sealed: body });
    }
    for (const { headers, body } of httpMessages(down).messages) {
      if (headers.get('content-type') !== 'application/octet-stream') continue;
      const given: unknown = body[0] !== undefined && body[0] >> 5 === 4 ? decodeCbor(body, 'mail') : [];
      for (const one of given as { from?: string; sealed?: Uint8Array }[])
        if (one.from === 'control-1' && one.sealed !== undefined)
          mail.push({ to: role, from: 'control', sealed: one.sealed });
    }
  }
  return mail;
}

/** The content keys as the owner sealed them. */
function recordedContentKeys(): Bytes {
  for (const { node, role, up } of system.recordings()) {
    if (node !== 'control' || role !== 'user') continue;
    for (const { start, body } of httpMessages(up).messages) {
      if (!start.startsWith('POST /v1/transactions')) continue;
      const { attachments } = JSON.parse(Buffer.from(body).toString()) as { attachments?: { keys?: string } };
      if (attachments?.keys !== undefined) return fromBase64(attachments.keys);
    }
  }
  throw new Error('no content keys were recorded');
}

async function stopAll(): Promise<void> {
  for (const process of Object.values(system.processes)) await process.kill();
}

/** All secrets in slots on the nodes' disks. */
async function boxSecrets(home: string, roles: readonly Mailing[] = mailing): Promise<Bytes[]> {
  const found: Bytes[] = [];
  for (const role of roles) {
    for (const file of Object.values(nodeFiles.boxes)) {
      if (file === nodeFiles.boxes.attachments && role !== 'keys') continue;
      const slots = await openSlots(join(home, 'nodes', role, nodeFiles.data, file));
      for (let slot = 0; slot < (await slots.count()); slot++) {
        const content = await slots.read(slot);
        if (content !== undefined) found.push(content.subarray(16));
      }
      await slots.close();
    }
  }
  return found;
}

/** Tries each key, whatever key number a message names. */
const keyOf = (secret: Uint8Array): BoxSecrets => {
  const key = p256Key(secret);
  return { keyOf: () => key };
};

async function opens(mail: readonly Sealed[], secrets: readonly Bytes[]): Promise<number> {
  const { directory } = system.installation;
  const keys = secrets.map(keyOf);
  let count = 0;
  for (const { to, from, sealed } of mail) {
    const tries = keys.map((boxes) => openMessage(directory, { id: `${to}-1`, boxes }, `${from}-1`, sealed));
    if ((await Promise.allSettled(tries)).some(({ status }) => status === 'fulfilled')) count++;
  }
  return count;
}

async function opensContentKeys(secrets: readonly Bytes[]): Promise<number | undefined> {
  const info = contentKeysInfo(id, owner.signer.publicKey);
  for (const boxes of secrets.map(keyOf)) {
    const opened = await openFromBox(boxes, info, contentKeys).catch(() => undefined);
    if (opened !== undefined) return opened.length / 32;
  }
  return undefined;
}

async function inDatabase(home: string): Promise<Sealed[]> {
  const file = await readFile(join(home, 'nodes', 'control', nodeFiles.data, 'data.mdb'));
  return recorded.filter(({ sealed }) => file.includes(Buffer.from(sealed)));
}

const longTerm = async () => (await secretsOf(system)).map(({ bytes }) => copyBytes(bytes));

describe('recorded mail', () => {
  let before: string;
  let first: Bytes[];

  it('baseline: opens with the current keys of the nodes, and so do the content keys', async () => {
    before = join(system.scratch, 'before');
    const filter = async (source: string) => !(await lstat(source)).isSocket();
    await cp(system.home, before, { recursive: true, filter });
    first = [...earlier, ...(await boxSecrets(before))];
    expect(recorded.length).toBeGreaterThan(20);
    expect(await opens(recorded, first)).toBe(recorded.length);
    expect(await opensContentKeys(first)).toBe(SEGMENTS);
    const kept = await inDatabase(before);
    expect(kept.length).toBeGreaterThan(0); // queued mail, and recently acknowledged mail
    expect(await opens(kept, first)).toBe(kept.length);
  });

  it('cannot be opened with any data on any disk and every long-term key after the keys are erased', async () => {
    const soon = { periodMs: 300, retentionMs: 300 };
    await setBoxes(system.installation.layout, { mail: soon, attachments: soon });
    for (const name of ['control', 'distribution', 'segments', 'keys'] as const) await system.processes[name].start();
    const gone = async () => {
      const left = new Set((await boxSecrets(system.home)).map((secret) => Buffer.from(secret).toString('hex')));
      return first.every((secret) => !left.has(Buffer.from(secret).toString('hex')));
    };
    await expect.poll(gone, { timeout: 60_000, interval: 500 }).toBe(true);
    await stopAll();

    const disks = [...filesOf(system.home)];
    expect(disks.length).toBeGreaterThan(20);
    const holding = (secret: Bytes) => disks.filter(({ bytes }) => Buffer.from(bytes).includes(Buffer.from(secret)));
    for (const secret of first) expect(holding(secret).map(({ name }) => name)).toEqual([]);
    const identity = (await longTerm())[0];
    expect(identity && holding(identity).length).toBe(1); // positive control of this search

    const everything = [...(await longTerm()), ...(await boxSecrets(system.home))];
    expect(everything.length).toBeGreaterThan(11);
    expect(await opens(recorded, everything)).toBe(0);
    expect(await opensContentKeys(everything)).toBeUndefined();
  });
});
