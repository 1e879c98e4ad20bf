import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateUserKey } from '@millrace/identity';
import { MemoryQueue, MemoryRecords } from '@millrace/stores';
import { registerKey } from '@millrace/testkit/protocol/support';
import { expect, it } from 'vitest';
import { withRecords } from '../src/admin/offline.ts';
import { recoverNode } from '../src/admin/recovery.ts';
import { acceptRestoredNodes } from '../src/control/admin.ts';
import { type DesignRecord, openRecords } from '../src/control/records.ts';

const id = (letter: string) => letter.repeat(32);
const deleted = id('e');
const [owner, inBackup, waiting, halfWaiting, lost] = ['0', 'a', 'b', 'c', 'd'].map(id) as [string, ...string[]];

const design = (name: string): DesignRecord => ({
  design: name,
  owner,
  ownerKey: new Uint8Array(33),
  name: 'a design',
  core: new Uint8Array(1),
  custody: 'owner',
  kind: 'gcode',
  size: 10,
  segments: 1,
  contentMac: new Uint8Array(32),
  transaction: new Uint8Array(1),
  credential: new Uint8Array(1),
  state: 'stored',
});

it('keeps designs and licences with queued mail when the other nodes are restored to an older state', async () => {
  const store = new MemoryRecords();
  const records = openRecords(store);
  const mail = new MemoryQueue();
  const transaction = await registerKey(generateUserKey(), id('f'), new Uint8Array(33));
  const documents = { transaction, credential: new Uint8Array(1) };
  const publish = (to: string, name: string) => mail.publish(to, to, name, new Uint8Array(1));
  for (const name of [inBackup, waiting, halfWaiting, lost]) {
    if (name !== undefined) await records.designs.create(name, design(name));
  }
  for (const name of [inBackup, waiting, halfWaiting, lost]) {
    if (name === undefined) continue;
    const of = {
      design: name === lost ? (inBackup ?? '') : name,
      owner,
      holder: owner,
      objects: 1,
      credits: [],
      ...documents,
    };
    await records.licences.create(name, { licence: name, ...of });
  }
  await records.designs.create(deleted, { ...design(deleted), state: 'deleted' });
  const gone = { licence: deleted, design: deleted, owner, holder: owner, objects: 1, credits: [], ...documents };
  await records.licences.create(deleted, gone);
  await publish('keys-1', `control/design/${waiting}`);
  await publish('segments-1', `control/design/${waiting}`);
  await publish('keys-1', `control/design/${halfWaiting}`); // segments had received its copy and has lost it
  await publish('keys-1', `control/licence/${waiting}`);
  await publish('keys-1', `control/licence/${halfWaiting}`); // of a lost design
  await publish('keys-1', 'segments/talk');

  const nodes = { keys: 'keys-1', segments: 'segments-1' };
  const held = { designs: new Set([inBackup ?? '']), licences: new Set([inBackup ?? '']) };
  expect(await acceptRestoredNodes({ store, mail, nodes }, held)).toEqual({
    designs: 2,
    licences: 2,
  });

  const states = [];
  for await (const [name, { state, code }] of records.designs.list()) states.push([name?.[0], state, code]);
  expect(states).toEqual([
    ['a', 'stored', undefined],
    ['b', 'stored', undefined],
    ['c', 'refused', 'E_BACKUP'],
    ['d', 'refused', 'E_BACKUP'],
    ['e', 'deleted', undefined],
  ]);
  const losses = [];
  for await (const [name, licence] of records.licences.list()) losses.push([name?.[0], licence.lost]);
  expect(losses).toEqual([
    ['a', undefined],
    ['b', undefined],
    ['c', true],
    ['d', true],
    ['e', undefined],
  ]);
  // Mail between the two nodes is dropped. Control's own mail is delivered after a restart.
  expect(await mail.depth('keys-1')).toBe(4);
  expect(await mail.depth('segments-1')).toBe(1);
});

it('revokes every API token when control is recovered in an older state', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-'));
  const folderOf = (role: string) => join(folder, role);
  const [open, closed] = [id('a'), id('b')];
  const document = new Uint8Array(1);
  const token = { name: 'ci', scopes: [], hash: new Uint8Array(32), key: owner, created: 1, until: 9, document };
  const revoked = { at: 2, by: owner };
  try {
    for (const role of ['control', 'segments', 'keys']) await mkdir(folderOf(role));
    await withRecords(folderOf('control'), async (store) => {
      const { tokens } = openRecords(store);
      await tokens.create(open, { token: open, ...token });
      await tokens.create(closed, { token: closed, ...token, revoked });
    });
    await recoverNode(folderOf, 'control', id('c'), 5);
    await withRecords(folderOf('control'), async (store) => {
      const { tokens } = openRecords(store);
      expect((await tokens.get(open))?.revoked).toEqual({ at: 5, by: id('c') });
      expect((await tokens.get(closed))?.revoked).toEqual(revoked);
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});
