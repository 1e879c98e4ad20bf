import { concatBytes, sleep, u32be, utf8 } from '@millrace/base';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type SlotFile, slotFiles } from '../src/keys/replicas/messages.ts';
import { Host, Keyspace } from './replicas-fixture.ts';

// Replicas of a keys node on one keyspace in memory: what is complete survives the loss of either one.

let keyspace: Keyspace;
let a: Host;
let b: Host;
beforeEach(async () => {
  keyspace = new Keyspace();
  [a, b] = [new Host('keys-1', keyspace), new Host('keys-1-b', keyspace)];
  await a.found();
  await a.enrol(b.id);
});
afterEach(async () => {
  await a.kill();
  await b.kill();
});

const epochKey = (epoch: number) => concatBytes(u32be(epoch), utf8(`key of epoch ${epoch}`));
const inSync = (host: Host, of: Host) => expect.poll(() => host.isInSync(of.id), { timeout: 20_000 }).toBe(true);

async function both(): Promise<void> {
  await a.lead(1);
  await b.follow();
  await inSync(a, b);
}

it('is complete when every replica in sync has it', async () => {
  const first = await a.lead(1);
  await first.slots('design').write(3, utf8('before'));
  await b.follow();
  await inSync(a, b);
  expect(await b.content()).toBe(await a.content());
  for (const file of slotFiles) await first.slots(file).write(1, utf8(file));
  await first.slots('design').erase(3);
  expect(await b.content()).toBe(await a.content());
  expect(await b.slots.design.read(3)).toBeUndefined();
  expect(await first.slots('mail').read(1)).toEqual(utf8('mail'));
  expect(await first.slots('mail').count()).toBe(2);
});

it('waits for a replica in sync until it no longer counts, and that one may not become active', async () => {
  a.graceMs = 500;
  await both();
  await b.kill();
  await a.leader?.slots('design').write(0, utf8('only here'));
  expect(await a.isInSync(b.id)).toBe(false);
  await expect(b.lead(2)).rejects.toMatchObject({ code: 'E_STANDBY' });
});

it('tells up to which epoch keys are destroyed everywhere, and who owes it', async () => {
  a.graceMs = 500;
  await both();
  const slots = a.leader?.slots('epoch');
  await slots?.write(1, epochKey(1));
  await slots?.write(0, epochKey(2));
  expect(a.leader?.destruction()).toEqual({ through: 0, owing: [] });
  await slots?.erase(1);
  expect(a.leader?.destruction()).toEqual({ through: 1, owing: [] });
  await b.kill();
  await slots?.write(1, epochKey(3));
  await slots?.erase(0);
  expect(a.leader?.destruction()).toEqual({ through: 1, owing: [b.id] });
  expect(await b.content()).toMatch(/^epoch 0/m);
  await b.follow();
  await inSync(a, b);
  expect(a.leader?.destruction()).toEqual({ through: 2, owing: [] });
  expect(await b.content()).not.toMatch(/^epoch 0/m);
});

it('goes on at the other replica, and the former one takes over its content', async () => {
  await both();
  await a.leader?.slots('design').write(0, utf8('kept'));
  a.dead = true; // cut off
  const lost = a.leader?.slots('design').write(1, utf8('not complete'));
  lost?.catch(() => undefined);
  await b.lead(2);
  expect(await b.isInSync(a.id)).toBe(false);
  expect(await b.content()).toMatch(/^design 0 [0-9a-f]+$/);
  await a.kill();
  await expect(lost).rejects.toMatchObject({ code: 'E_FENCED' });
  expect(await a.slots.design.read(1)).toEqual(utf8('not complete'));
  await b.leader?.slots('design').erase(0);
  await b.leader?.slots('design').write(2, utf8('later'));
  await a.follow();
  await inSync(b, a);
  expect(await a.content()).toBe(await b.content());
  expect(await a.slots.design.read(1)).toBeUndefined();
});

it('a frozen active replica removes nobody and completes nothing when it wakes', async () => {
  await both();
  let wake: () => void = () => undefined;
  const woken = new Promise<void>((resolve) => {
    wake = resolve;
  });
  a.before = () => woken;
  const write = a.leader?.slots('design').write(5, utf8('while frozen'));
  write?.catch(() => undefined);
  await b.lead(2);
  await b.leader?.slots('design').write(6, utf8('of the new one'));
  wake(); // its lease seems current to it
  await expect(write).rejects.toMatchObject({ code: 'E_FENCED' });
  expect(await b.isInSync(b.id)).toBe(true);
  expect(await b.slots.design.read(5)).toBeUndefined();
});

it('a replica that starts again within the grace stays in sync, and has everything', async () => {
  await both();
  await b.kill();
  const write = a.leader?.slots('design').write(0, utf8('while it starts'));
  await b.follow();
  await write;
  expect(await a.isInSync(b.id)).toBe(true);
  expect(await b.content()).toBe(await a.content());
});

it('removes a replica by a change of the group: nothing waits for it', async () => {
  await both();
  await a.group?.change(({ members, ...rest }) => ({ ...rest, members: members.filter(({ id }) => id !== b.id) }));
  await expect.poll(() => a.leader?.destruction().owing, { timeout: 20_000 }).toEqual([]);
  await expect.poll(() => b.lines.join(''), { timeout: 20_000 }).toContain('its disk has to be destroyed');
  await b.kill();
  await a.leader?.slots('design').write(0, utf8('alone'));
  await expect(b.lead(2)).rejects.toMatchObject({ code: 'E_STANDBY' });
});

it('three replicas survive the loss of two, one after the other', async () => {
  const c = new Host('keys-1-c', keyspace);
  await a.enrol(c.id);
  await a.lead(1);
  for (const host of [b, c]) await host.follow();
  for (const host of [b, c]) await inSync(a, host);
  await a.leader?.slots('design').write(0, utf8('of the first'));
  await a.kill();
  await b.lead(2);
  // The third one stays in sync: nothing is complete without it, while it takes over the content of the new one.
  expect(await b.isInSync(c.id)).toBe(true);
  await b.leader?.slots('design').write(1, utf8('of the second'));
  expect(await c.slots.design.read(1)).toEqual(utf8('of the second'));
  await b.kill();
  await c.lead(3);
  await c.leader?.slots('design').erase(0);
  expect(await c.content()).toMatch(/^design 1 [0-9a-f]+$/);
  expect(c.leader?.destruction().owing).toEqual([a.id, b.id]);
  for (const host of [a, b]) await host.follow();
  for (const host of [a, b]) await inSync(c, host);
  for (const host of [a, b]) expect(await host.content()).toBe(await c.content());
  expect(c.leader?.destruction().owing).toEqual([]);
  await c.kill();
});

// Death at each request that changes something (every third one) of the replica that leads (that follows).
it.each(['leader', 'follower'])(
  'loses nothing that was complete, wherever the %s dies',
  async (who) => {
    let [died, takeovers] = [true, 0];
    for (let step = 0; died; step += who === 'leader' ? 1 : 3) {
      died = false;
      keyspace = new Keyspace();
      [a, b] = [new Host('keys-1', keyspace), new Host('keys-1-b', keyspace)];
      await a.found();
      await a.enrol(b.id);
      const victim = who === 'leader' ? a : b;
      if (who === 'follower') a.graceMs = 300;
      let left = step;
      await a.lead(1);
      await b.follow();
      victim.before = (what) => {
        if (died || what.startsWith('get') || left-- > 0) return;
        died = true;
        victim.dead = true;
      };
      const isIn = () => a.isInSync(b.id).catch(() => false);
      while (!died && !(await isIn())) await sleep(1);
      const complete = new Map<number, string>();
      for (let slot = 0; slot < 6 && !(who === 'leader' && died); slot++) {
        const write = a.leader?.slots('design').write(slot, utf8(`design ${slot}`));
        write?.catch(() => undefined);
        // A dead leader completes nothing; a dead follower no longer counts after a while.
        const done = await Promise.race([write?.then(() => true), who === 'leader' ? untilDead(a) : write]);
        if (done !== false) complete.set(slot, `design ${slot}`);
      }
      await victim.kill();
      if (who === 'leader' && (await b.isInSync(b.id))) await b.lead(2);
      const active = [a, b].find((host) => host.leader !== undefined && host !== (died ? victim : undefined));
      if (died && who === 'leader' && active !== undefined) takeovers++;
      // Without another one in sync, the one that died is the only one that may go on, and it has everything.
      if (active === undefined) await a.lead(2);
      for (const [slot, text] of complete)
        expect(await (active ?? a).slots.design.read(slot), `${slot} after ${step}`).toEqual(utf8(text));
      await a.kill();
      await b.kill();
    }
    if (who === 'leader') expect(takeovers).toBeGreaterThan(3);
  },
  60_000,
);

const untilDead = async (host: Host): Promise<false> => {
  while (!host.dead) await sleep(1);
  return false;
};

it('has every complete change after any order of changes, restarts and takeovers', async () => {
  type Step =
    | { readonly do: 'write'; readonly file: SlotFile; readonly slot: number; readonly text: string }
    | { readonly do: 'erase'; readonly file: SlotFile; readonly slot: number }
    | { readonly do: 'restart' }
    | { readonly do: 'takeover' };
  const file = fc.constantFrom(...slotFiles);
  const slot = fc.integer({ min: 0, max: 3 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('write' as const),
        file,
        slot,
        text: fc.string({ minLength: 1, maxLength: 20 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('erase' as const), file, slot }) },
    { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'restart' }, { do: 'takeover' }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      keyspace = new Keyspace();
      let [active, other] = [new Host('keys-1', keyspace), new Host('keys-1-b', keyspace)];
      [a, b] = [active, other];
      await active.found();
      await active.enrol(other.id);
      let token = 1;
      await active.lead(token);
      await other.follow();
      await inSync(active, other);
      const expected = new Map<string, string>();
      for (const next of steps) {
        if (next.do === 'restart') {
          await other.kill();
          await other.follow();
        } else if (next.do === 'takeover') {
          await inSync(active, other);
          await active.kill();
          [active, other] = [other, active];
          await active.lead(++token);
          await other.follow();
        } else {
          const slots = active.leader?.slots(next.file);
          if (next.do === 'write') {
            await slots?.write(next.slot, utf8(next.text).slice(0, 127));
            expected.set(`${next.file} ${next.slot}`, next.text);
          } else {
            await slots?.erase(next.slot);
            expected.delete(`${next.file} ${next.slot}`);
          }
        }
      }
      await inSync(active, other);
      for (const host of [active, other])
        for (const name of slotFiles)
          for (let at = 0; at < 4; at++) {
            const found = await host.slots[name].read(at);
            const text = expected.get(`${name} ${at}`);
            expect(found).toEqual(text === undefined ? undefined : utf8(text).slice(0, 127));
          }
      await active.kill();
      await other.kill();
    }),
    { numRuns: 10 },
  );
}, 60_000);
