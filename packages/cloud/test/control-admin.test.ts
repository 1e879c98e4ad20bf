import { MemoryQueue, MemoryRecords } from '@millrace/stores';
import { expect, it } from 'vitest';
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
  state: 'stored',
});

it('keeps designs and licences with queued mail when the other nodes are restored to an older state', async () => {
  const store = new MemoryRecords();
  const records = openRecords(store);
  const mail = new MemoryQueue();
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
      transaction: new Uint8Array(1),
    };
    await records.licences.create(name, { licence: name, ...of });
  }
  await records.designs.create(deleted, { ...design(deleted), state: 'deleted' });
  const gone = { licence: deleted, design: deleted, owner, holder: owner, objects: 1, transaction: new Uint8Array(1) };
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
