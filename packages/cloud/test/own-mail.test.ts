import { encodeCbor, type MillraceError, silentLogger, toHex } from '@millrace/base';
import { generateP256Key, type P256Key } from '@millrace/identity';
import { type BoxKey, type Directory, encodeMail, type Message, sealMail } from '@millrace/protocol';
import { MemoryQueue, type Queue } from '@millrace/stores';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { OwnMail } from '../src/control/own-mail.ts';

// Mail to control, with two control nodes that use one queue in turn.

const identities: Record<string, P256Key> = {};
for (const id of ['control-1', 'control-2', 'segments-1', 'distribution-1']) identities[id] = generateP256Key();
const directory = {
  installation: '11'.repeat(16),
  nodes: Object.entries(identities).map(([id, { publicKey }]) => ({
    ...{ id, role: id.slice(0, -2), addresses: [], fingerprint: '00'.repeat(32) },
    identity: toHex(publicKey),
  })),
} as unknown as Directory;
const boxes: Record<string, P256Key> = { 'control-1': generateP256Key(), 'control-2': generateP256Key() };

let queue: Queue;
const open: { close(): Promise<void> | void }[] = [];
beforeEach(() => {
  queue = new MemoryQueue();
});
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

const control = (id: string) =>
  new OwnMail({ queue, id, directory, boxes: { keyOf: () => boxes[id] }, logger: silentLogger });
const stored = (digit: string): Message => ({ type: 'design.stored', design: digit.repeat(32) });
const sealed = (to: string, message: Message, from = 'segments-1') => {
  const sender = { id: from, identity: identities[from] as P256Key };
  const point = boxes[to]?.publicKey ?? new Uint8Array();
  const box = { type: 'box', node: to, use: 'mail', number: 1, point, issued: 0, expires: 1 } as BoxKey;
  return sealMail(directory, sender, box, encodeMail(message));
};
function read(mail: OwnMail, fail: (message: Message) => MillraceError | undefined = () => undefined) {
  const handled: string[] = [];
  open.push(
    mail.read(async (message, from) => {
      const error = fail(message);
      if (error !== undefined) throw error;
      handled.push(`${from.id}: ${JSON.stringify(message)}`);
    }),
  );
  return handled;
}
const shown = (digit: string) => `segments-1: ${JSON.stringify(stored(digit))}`;

it('is handled by the next active node if the one that took it has ended', async () => {
  await control('control-1').receive('control-1', 'segments-1', 'a', await sealed('control-1', stored('1')));
  const next = control('control-2');
  const handled = read(next);
  await expect.poll(() => handled).toEqual([shown('1')]);
  // The sender has not heard of it, and repeats it to the node that is active now.
  await next.receive('control-2', 'segments-1', 'a', await sealed('control-2', stored('1')));
  await next.receive('control-2', 'segments-1', 'b', await sealed('control-2', stored('2')));
  await expect.poll(() => handled).toEqual([shown('1'), shown('2')]);
});

it('to another control node than the active one is refused, and the sender learns which one is active', async () => {
  const refused = control('control-2').receive('control-1', 'segments-1', 'a', await sealed('control-1', stored('1')));
  await expect(refused).rejects.toMatchObject({ code: 'E_BOX_KEY', data: { active: 'control-2' } });
  expect(await queue.depth('control')).toBe(0);
});

it('that is forged, misdirected or not allowed is refused when it arrives', async () => {
  const mail = control('control-1');
  const receive = (from: string, bytes: Uint8Array) => mail.receive('control-1', from, 'x', bytes);
  await expect(receive('segments-1', await sealed('control-2', stored('1')))).rejects.toMatchObject({ code: 'E_SEAL' });
  const other = await sealed('control-1', stored('1'), 'distribution-1');
  await expect(receive('segments-1', other)).rejects.toMatchObject({ code: 'E_SEAL' });
  await expect(receive('distribution-1', other)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
  // One control node has nothing to tell another: a message in its name comes from a thief.
  const own = await sealed('control-1', stored('1'), 'control-2');
  await expect(receive('control-2', own)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
  expect(await queue.depth('control')).toBe(0);
});

it('that an earlier version has kept sealed is handled, and its drained notes are dropped', async () => {
  const kept = encodeCbor({ from: 'segments-1', sealed: await sealed('control-1', stored('3')) });
  await queue.publish('control-1', 'control-1', 'segments-1/old', kept);
  const drained = encodeCbor({ own: encodeMail({ type: 'box.drained', use: 'mail', below: 9 }) });
  await queue.publish('control-1', 'control-1', 'control/drained/1', drained);
  const handled = read(control('control-1'));
  await expect.poll(() => handled).toEqual([shown('3')]);
  await expect.poll(() => queue.depth('control-1')).toBe(0);
});
