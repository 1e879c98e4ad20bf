import { systemRandom, toHex, utf8 } from '@millrace/base';
import { generateUserKey, type MemorySigner } from '@millrace/identity';
import { type Attested, type PrintCommand, signTransaction } from '@millrace/protocol';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, expect, test } from 'vitest';
import { operate } from '../src/admin/index.ts';

// Signed commands from elsewhere, at the agent: whom it obeys, for which print, and how often.

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

/** A design that takes ten minutes, at a factor of 1. */
const design = storeDesign(
  utf8('G4 P1000 ; a second, on a line that is long enough for several segments\n'.repeat(600)),
);

async function started() {
  bench = await startBench({ design, kind: 'virtual', factor: 1 });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'started'));
  const print = [...cloud.prints.keys()].at(-1) as string;
  const credentialOf = (key: MemorySigner) =>
    key === cloud.holder ? cloud.holderDocument : key === cloud.options.design.owner ? cloud.ownerDocument : undefined;
  const sign = async (
    key: MemorySigner,
    command: PrintCommand,
    { of = print, age = 0, installation = cloud.directory.installation } = {},
  ): Promise<Attested & { readonly id: string }> => {
    const id = systemRandom(16);
    const issued = Date.now() - age;
    const body = { type: 'print.command', id, issued, expires: issued + 60_000, print: of, command } as const;
    const credential = credentialOf(key) ?? (await cloud.register(key.publicKey));
    return { id: toHex(id), transaction: await signTransaction(key, installation, body), credential };
  };
  /** Gives the agent a command, as control does. @returns the code of its refusal, or `done` */
  const give = async ({ id, transaction, credential }: Awaited<ReturnType<typeof sign>>): Promise<string> => {
    const before = cloud.commanded.length;
    cloud.commands.push({ transaction, credential });
    await cloud.until(() => cloud.commanded.slice(before).some(({ command }) => command === id));
    return cloud.commanded.slice(before).find(({ command }) => command === id)?.refusal?.code ?? 'done';
  };
  return { ...bench, print, sign, give, owner: cloud.options.design.owner, holder: cloud.holder };
}

test('holder and owner pause and cancel a print; the ledger is told who and why', async () => {
  const { cloud, folder, sign, give, holder, owner } = await started();
  const status = () => operate(folder, { command: 'status' });
  expect(await give(await sign(holder, 'pause'))).toBe('done');
  expect(await status()).toMatchObject({ state: 'paused', held: { remote: 'operator' } });
  expect(await give(await sign(owner, 'pause'))).toBe('E_STATE');
  // The owner does not set a machine in motion that its operator has paused.
  expect(await give(await sign(owner, 'resume'))).toBe('E_FORBIDDEN');
  expect(await give(await sign(holder, 'resume'))).toBe('done');
  expect(await give(await sign(holder, 'resume'))).toBe('E_STATE');
  expect(await give(await sign(owner, 'pause'))).toBe('done');
  expect(await give(await sign(owner, 'resume'))).toBe('done');
  expect(await give(await sign(owner, 'stop'))).toBe('E_FORBIDDEN');
  expect(await give(await sign(owner, 'cancel'))).toBe('done');
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  const told = cloud.reports.map(({ facts }) => facts).filter(({ halt, resumed }) => halt ?? resumed);
  expect(told).toMatchObject([
    { halt: { actor: 'operator', cause: expect.stringContaining('signed by key'), nextStep: expect.any(String) } },
    { resumed: true },
    { halt: { actor: 'owner' } },
    { resumed: true },
    { code: 'E_STOPPED', halt: { actor: 'owner' } },
  ]);
});

test('a pause from elsewhere ends with its print, and never holds the next one', async () => {
  const { cloud, folder, print, sign, give, holder } = await started();
  await give(await sign(holder, 'pause'));
  expect(await give(await sign(holder, 'cancel'))).toBe('done');
  expect((await operate(folder, { command: 'status' })).held).toBeUndefined();
  cloud.queue.length = 0;
  await cloud.print();
  const begun = () => cloud.reports.filter(({ event }) => event === 'started').length;
  await cloud.until(() => begun() === 2);
  // A page that still shows the first print.
  for (const command of ['pause', 'cancel', 'stop'] as const)
    expect(await give(await sign(holder, command, { of: print }))).toBe('E_FORBIDDEN');
  expect(await operate(folder, { command: 'status' })).toMatchObject({ state: 'running', prints: true });
});

test('nobody elsewhere ends a pause that was made at the machine, and the machine takes over one from elsewhere', async () => {
  const { folder, sign, give, holder, owner } = await started();
  await give(await sign(holder, 'pause'));
  const cause = 'a hand is in the machine';
  expect(await operate(folder, { command: 'pause', cause })).toMatchObject({ held: { cause } });
  for (const key of [holder, owner]) expect(await give(await sign(key, 'resume'))).toBe('E_STATE');
  expect(await operate(folder, { command: 'resume' })).toMatchObject({ state: 'running' });
});

test('an emergency stop from elsewhere holds the machine until it is resumed there', async () => {
  const { cloud, folder, sign, give, holder } = await started();
  expect(await give(await sign(holder, 'stop'))).toBe('done');
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  const { held } = await operate(folder, { command: 'status' });
  expect(held?.remote).toBeUndefined();
  expect((await operate(folder, { command: 'resume' })).held).toBeUndefined();
});

test('replayed, expired, forged and foreign commands do nothing', async () => {
  const { folder, sign, give, holder, print } = await started();
  const pause = await sign(holder, 'pause');
  expect(await give(pause)).toBe('done');
  expect(await give(await sign(holder, 'resume'))).toBe('done');
  expect(await give(pause)).toBe('E_REPLAY');
  expect(await give(await sign(holder, 'cancel', { age: 2 * 3_600_000 }))).toBe('E_EXPIRED');
  expect(await give(await sign(holder, 'cancel', { age: -2 * 3_600_000 }))).toBe('E_CLOCK');
  expect(await give(await sign(holder, 'cancel', { installation: toHex(systemRandom(16)) }))).toBe('E_SIGNATURE');
  expect(await give(await sign(holder, 'cancel', { of: toHex(systemRandom(16)) }))).toBe('E_FORBIDDEN');
  // Another user of the same cloud, with a valid credential of its own, and with the holder's.
  const stranger = generateUserKey();
  expect(await give(await sign(stranger, 'cancel'))).toBe('E_FORBIDDEN');
  const { credential } = await sign(holder, 'cancel');
  expect(await give({ ...(await sign(stranger, 'cancel')), credential })).toBe('E_AUTH');
  expect(await operate(folder, { command: 'status' })).toMatchObject({ state: 'running', prints: true });
  expect(print).toHaveLength(32);
});
