import { concatBytes, encodeCbor, sleep, systemRandom, toHex, u32be, utf8 } from '@millrace/base';
import { generateP256Key, p256Key, seal } from '@millrace/identity';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { messageSchema, openContent, placesOf } from '../src/keys/replicas/messages.ts';
import { Statements } from '../src/keys/replicas/statements.ts';
import { Host, Keyspace, node } from './replicas-fixture.ts';

// Whoever can write to the keyspace of a keys node with replicas, or copies it, with all long-term keys later.

/** The secrets of the keys that the replicas made: what was only in their memories. */
const memories: Uint8Array[] = [];
vi.mock('@millrace/identity', async (load) => {
  const real = await load<typeof import('@millrace/identity')>();
  return {
    ...real,
    generateP256Key: () => {
      const key = real.generateP256Key();
      memories.push(key.exportSecret());
      return key;
    },
  };
});

let keyspace: Keyspace;
let a: Host;
let b: Host;
beforeEach(async () => {
  memories.length = 0;
  keyspace = new Keyspace();
  [a, b] = [new Host('keys-1', keyspace), new Host('keys-1-b', keyspace)];
  a.graceMs = 1_000;
  await a.found();
  await a.enrol(b.id);
  await a.lead(1);
  await b.follow();
  await expect.poll(() => a.isInSync(b.id), { timeout: 20_000 }).toBe(true);
});
afterEach(async () => {
  await a.kill();
  await b.kill();
});

/** The keyspace with the rights of its login, and without the keys of the node. */
const hostile = () => keyspace.records.collection('replicas');
const { to, from } = placesOf('keys-1-b');
const writtenAt = (place: string) => keyspace.written.filter((each) => each.place === place).map(({ value }) => value);

/** Opens every message in a copy of the keyspace that one of these keys opens. */
async function openAll(secrets: readonly Uint8Array[]): Promise<string[]> {
  const statements = new Statements(node, keyspace.kek);
  const opened: string[] = [];
  for (const message of writtenAt(to)) {
    const { changes } = statements.read(messageSchema, to, message);
    if (changes === undefined) continue;
    for (const secret of secrets) {
      const recipient = { of: node, replica: 'keys-1-b', instance: changes.instance, number: changes.number };
      const content = await openContent(recipient, p256Key(secret), changes.sealed).catch(() => undefined);
      opened.push(...(content?.changes ?? []).map(([, , bytes]) => toHex(bytes)));
    }
  }
  return opened;
}

it('a copy of the keyspace, with all long-term keys and memories of later, opens nothing', async () => {
  const key = concatBytes(u32be(5), utf8('key of epoch 5'));
  await a.leader?.slots('epoch').write(1, key);
  const atThatTime = memories.map((secret) => secret.slice());
  await a.leader?.slots('epoch').erase(1);
  await a.leader?.slots('epoch').write(0, concatBytes(u32be(6), utf8('key of epoch 6')));
  const before = memories.length;
  await expect.poll(() => memories.length, { timeout: 20_000 }).toBeGreaterThan(before + 1); // while nothing changes
  const later = memories.slice(-1);
  const longTerm = [keyspace.kek, systemRandom(32)]; // key-encrypting key, identity
  expect(await openAll([...later, ...longTerm])).not.toContain(toHex(key));
  // Control: the memory of the moment opens it.
  expect(await openAll(atThatTime)).toContain(toHex(key));
});

it('repeating what was ever written resurrects no erased slot and completes no change', async () => {
  await a.leader?.slots('design').write(0, utf8('design key'));
  await a.leader?.slots('design').erase(0);
  await a.leader?.slots('design').write(1, utf8('another'));
  const content = await b.content();
  const messages = writtenAt(to);
  expect(messages.length).toBeGreaterThan(3);
  for (const message of messages) {
    await hostile().put(to, message);
    await sleep(5);
    expect(await b.slots.design.read(0)).toBeUndefined();
  }
  // The replica goes on, and has what is true.
  await a.leader?.slots('design').write(2, utf8('after the attack'));
  await expect.poll(() => b.content(), { timeout: 20_000 }).toContain(content);
  // The other replica is away: its old answers confirm nothing, also when it is asked to begin anew.
  await b.kill();
  let done = false;
  const write = a.leader?.slots('design').write(3, utf8('not there'));
  write?.then(
    () => {
      done = true;
    },
    () => undefined,
  );
  const answers = writtenAt(from);
  for (const answer of answers.slice(-100)) {
    if (done) break;
    await hostile().put(from, answer);
    await sleep(1);
  }
  await write;
  expect(await a.isInSync(b.id)).toBe(false); // it was not confirmed, but given up
});

it('nobody without the keys of the node gets a change, answers, or changes the group', async () => {
  const own = generateP256Key();
  const answer = { to: new Uint8Array(32), instance: '00'.repeat(16), number: 0, point: own.publicKey };
  const forged = new Statements(node, systemRandom(32)).make(from, answer);
  await hostile().put(from, forged);
  await hostile().put(from, encodeCbor({ body: encodeCbor(answer as never), mac: new Uint8Array(32) }));
  await a.leader?.slots('epoch').write(0, concatBytes(u32be(9), utf8('secret')));
  expect(await openAll([own.exportSecret()])).toEqual([]);
  // A change of his own to the replica, sealed to the point that it has stated.
  const change = { token: 1, active: 'keys-1', nonce: systemRandom(16) };
  const before = await b.content();
  await hostile().put(to, new Statements(node, systemRandom(32)).make(to, change));
  await sleep(20);
  expect(await b.content()).toBe(before);
  // A genuine statement at another place.
  const genuine = writtenAt(to).at(-1) as Uint8Array;
  await hostile().put('group', genuine);
  await expect(b.group?.read()).rejects.toMatchObject({ code: 'E_AUTH' });
  // An earlier group, in which the other replica was not enrolled yet.
  const [earliest] = writtenAt('group');
  await hostile().put('group', earliest as Uint8Array);
  await expect(a.group?.read()).rejects.toMatchObject({ code: 'E_STORE', message: expect.stringMatching(/older/) });
  await hostile().delete('group');
  await expect(a.group?.read()).rejects.toMatchObject({ code: 'E_STORE' });
  await expect(a.group?.found('keys-1')).rejects.toMatchObject({ code: 'E_STORE' });
});

it('a replica that was removed gets nothing, also with the keys of the node', async () => {
  await a.group?.change(({ members, ...rest }) => ({ ...rest, members: members.filter(({ id }) => id !== b.id) }));
  await expect.poll(() => a.leader?.destruction().owing, { timeout: 20_000 }).toEqual([]);
  const messages = writtenAt(to).length;
  await a.leader?.slots('epoch').write(0, concatBytes(u32be(7), utf8('after the removal')));
  await sleep(50);
  expect(writtenAt(to).length).toBeLessThanOrEqual(messages + 1); // one may have been under way
  expect(await b.slots.epoch.read(0)).toBeUndefined();
});

it('content that does not decode is refused with a code, and nothing of it is applied', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (plain) => {
      const key = generateP256Key();
      const to = { of: node, replica: b.id, instance: '00'.repeat(16), number: 1 };
      const info = utf8(`millrace/v1/keys-replica/${node.installation}/${node.node}/${b.id}/${to.instance}/1`);
      const outcome = await openContent(to, key, await seal(key.publicKey, info, plain)).catch((error) => error);
      if (outcome instanceof Error) expect(outcome).toMatchObject({ code: 'E_INPUT' });
      else
        for (const [file, , content] of outcome.changes)
          expect([file < 4, content.length <= 127]).toEqual([true, true]);
    }),
    { numRuns: 60 },
  );
});
