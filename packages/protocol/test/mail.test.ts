import { toHex } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { boxOf, codeOf, createProtocolFixture, NOW } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import {
  type BoxSecrets,
  CLOCK_SKEW_MS,
  chooseNode,
  type Directory,
  type DirectoryNode,
  encodeMail,
  nodeOf,
  openMessage,
  readBoxKey,
  sealMail,
  signBoxKey,
} from '../src/index.ts';

const { keys, directory } = createProtocolFixture();

describe('mail', () => {
  const message = { type: 'stream.close' as const, session: '00'.repeat(16) };
  const box = boxOf('segments');
  const sealAs = (identity: typeof keys.keys) =>
    sealMail(directory, { id: 'keys-1', identity }, box.body, encodeMail(message));
  const segments = { id: 'segments-1', boxes: box.secrets };

  it('opens for its recipient only, and from its sender only', async () => {
    const sealed = await sealAs(keys.keys);
    expect(await openMessage(directory, segments, 'keys-1', sealed)).toEqual(message);
    expect(await codeOf(() => openMessage(directory, segments, 'control-1', sealed))).toBe('E_SEAL');
    const control = { id: 'control-1', boxes: box.secrets };
    expect(await codeOf(() => openMessage(directory, control, 'keys-1', sealed))).toBe('E_SEAL');
  });

  it('between the proactive nodes cannot be forged by control', async () => {
    const forged = await sealAs(keys.control);
    expect(await codeOf(() => openMessage(directory, segments, 'keys-1', forged))).toBe('E_SEAL');
  });

  it('does not open with either identity key, and reports an erased key', async () => {
    const sealed = await sealAs(keys.keys);
    const open = (boxes: BoxSecrets) =>
      codeOf(() => openMessage(directory, { id: 'segments-1', boxes }, 'keys-1', sealed));
    expect(await open({ keyOf: () => keys.segments })).toBe('E_SEAL');
    expect(await open({ keyOf: () => keys.keys })).toBe('E_SEAL');
    expect(await open({ keyOf: () => undefined })).toBe('E_BOX_KEY');
    expect(await codeOf(() => openMessage(directory, segments, 'keys-1', sealed.subarray(0, 7)))).toBe('E_SEAL');
  });
});

describe('mail between nodes of one role', () => {
  const message = { type: 'stream.close' as const, session: '00'.repeat(16) };
  const second = generateP256Key();
  const entry = { ...nodeOf(directory, 'keys'), id: 'keys-2', identity: toHex(second.publicKey) };
  const both: Directory = {
    ...directory,
    nodes: [...directory.nodes, entry, { ...nodeOf(directory, 'segments'), id: 'segments-2' }],
  };
  const box = boxOf('segments');
  const open = (id: string, sender: string, sealed: Uint8Array, of = both) =>
    codeOf(() => openMessage(of, { id, boxes: box.secrets }, sender, sealed));

  it('opens at the node that it names, from the node that it names', async () => {
    const sealed = await sealMail(both, { id: 'keys-2', identity: second }, box.body, encodeMail(message));
    expect(await open('segments-1', 'keys-2', sealed)).toBe('nothing thrown');
    expect(await open('segments-2', 'keys-2', sealed)).toBe('E_SEAL'); // segments-2 holds the box key too
    expect(await open('segments-1', 'keys-1', sealed)).toBe('E_SEAL');
  });

  it('cannot be sent in another node’s name, nor by a node that the directory does not list', async () => {
    const forged = await sealMail(both, { id: 'keys-1', identity: second }, box.body, encodeMail(message));
    expect(await open('segments-1', 'keys-1', forged)).toBe('E_SEAL');
    const removed = await sealMail(both, { id: 'keys-2', identity: second }, box.body, encodeMail(message));
    expect(await open('segments-1', 'keys-2', removed, directory)).toBe('E_AUTH');
    expect(await open('segments-1', 'keys', removed)).toBe('E_AUTH');
  });
});

describe('the node of a role that owns a partition', () => {
  const nodes = ['a', 'b', 'c'].map((id) => ({ ...nodeOf(directory, 'keys'), id: `keys-${id}` }));
  const designs = Array.from({ length: 300 }, (_, i) => i.toString(16).padStart(32, '0'));
  const place = (list: readonly DirectoryNode[], design: string) =>
    chooseNode({ installation: '11'.repeat(16), nodes: list }, 'keys', design).id;

  it('does not depend on the order of the nodes in the directory', () => {
    for (const design of designs) expect(place(nodes, design)).toBe(place([...nodes].reverse(), design));
  });

  it('is any of them, and changes only for the partitions of a removed node', () => {
    const counts = new Map<string, number>();
    for (const design of designs) {
      const before = place(nodes, design);
      counts.set(before, (counts.get(before) ?? 0) + 1);
      const after = place(nodes.slice(0, 2), design);
      if (before !== 'keys-c') expect(after).toBe(before);
    }
    for (const { id } of nodes) expect(counts.get(id)).toBeGreaterThan(60);
  });

  it('matches the computation in spec/protocol.md', () => {
    expect(designs.slice(0, 6).map((design) => place(nodes, design))).toEqual([
      'keys-a',
      'keys-c',
      'keys-c',
      'keys-a',
      'keys-a',
      'keys-a',
    ]);
  });

  it('is the only node when there is one', () => {
    expect(place(nodes.slice(0, 1), 'anything')).toBe('keys-a');
    expect(() => place([], 'anything')).toThrow(expect.objectContaining({ code: 'E_DIRECTORY' }));
  });
});

describe('a box key', () => {
  const role = 'keys' as const;
  const read = (document: Uint8Array, now: number | 'any time' = NOW) =>
    readBoxKey(directory, { node: 'keys-1', use: 'attachments' }, document, now);

  it('is accepted until it expires when its node signed it for this installation and use', async () => {
    const { body } = boxOf(role, { use: 'attachments' });
    const signed = await signBoxKey(keys.keys, directory.installation, body);
    expect(await read(signed)).toEqual(body);
    expect(await codeOf(() => read(signed, body.expires + CLOCK_SKEW_MS + 1))).toBe('E_EXPIRED');
    expect((await read(signed, 'any time')).number).toBe(body.number);
    expect(await codeOf(() => read(signed, NOW - CLOCK_SKEW_MS - 1))).toBe('E_CLOCK');
    const foreign = await signBoxKey(keys.keys, '22'.repeat(16), body);
    expect(await codeOf(() => read(foreign))).toBe('E_SIGNATURE');
    const ofControl = await signBoxKey(keys.control, directory.installation, body);
    expect(await codeOf(() => read(ofControl))).toBe('E_AUTH');
  });

  it('is rejected when it is of another node or use', async () => {
    for (const changes of [{ use: 'mail' as const }, { node: 'keys-2', use: 'attachments' as const }]) {
      const { body } = boxOf(role, changes);
      const signed = await signBoxKey(keys.keys, directory.installation, body);
      expect(await codeOf(() => read(signed))).toBe('E_INPUT');
    }
  });
});
