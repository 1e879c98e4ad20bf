import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName, type MemorySigner } from '@millrace/identity';
import { type Machine, registrationHash, signTransaction, type TransactionOf } from '@millrace/protocol';
import { codeOf } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { lookAt, nextLook } from '../src/control/camera.ts';
import { signingActor } from '../src/control/people.ts';
import { authorize } from '../src/node/policy.ts';
import { controlFixture } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let people: ReturnType<typeof peopleFixture>;
let machine: Machine;
let bureau: string;
let otto: MemorySigner;
const picture = new Uint8Array([1, 2, 3]);

beforeEach(async () => {
  fixture = await controlFixture();
  people = peopleFixture(fixture);
  bureau = await people.organisation('Bureau', 'bureau');
  otto = await people.enrol(bureau, 'operator');
  machine = await fixture.addMachine('SN-1', generateP256Key());
  const held = { machine: machine.machine, registration: registrationHash(machine), organisation: bureau, number: 1 };
  await people.take(await people.sign(fixture.keys.admin, { type: 'machine.assign', ...held }));
});

async function watch(by: MemorySigner, changes: Partial<TransactionOf<'camera.watch'>> = {}) {
  const issued = Date.now();
  return signTransaction(by, fixture.context.directory.installation, {
    type: 'camera.watch',
    ...{ id: systemRandom(16), issued, expires: issued + 60_000, key: generateP256Key().publicKey },
    ...{ organisation: bureau, machine: machine.machine, ...changes },
  });
}
/** What the route does. */
async function look(by: MemorySigner, bytes: Uint8Array<ArrayBuffer>) {
  const { context } = fixture;
  const record = await context.records.machines.require(machine.machine);
  const name = keyName(by.publicKey);
  authorize(await signingActor(context, name), 'camera.watch', { organisation: record.organisation });
  return lookAt(context, record, { bytes, nonce: toHex(systemRandom(16)) }, name);
}
const asked = (wait = 5_000) => nextLook(fixture.context, machine.machine, wait, new AbortController().signal);

describe('control', () => {
  it('passes a watch on as it was signed, as often as it is used, and keeps no picture', async () => {
    await asked(0);
    const bytes = await watch(otto);
    for (const _ of [1, 2]) {
      const given = look(otto, bytes);
      const got = await asked();
      expect(got?.watch.transaction).toEqual(bytes);
      // Of another machine.
      fixture.context.looks.answered('0'.repeat(32), got?.look ?? '', undefined, new Uint8Array(9));
      fixture.context.looks.answered(machine.machine, got?.look ?? '', undefined, picture);
      expect(await given).toEqual(picture);
    }
  });

  it('asks no machine for others than operators of its organisation', async () => {
    await asked(0);
    const rival = await people.organisation('Rival', 'bureau');
    const rita = await people.enrol(rival, 'operator');
    const dora = await people.enrol(bureau, 'designer');
    const codes = [
      await codeOf(async () => look(rita, await watch(rita, { organisation: rival }))),
      await codeOf(async () => look(rita, await watch(otto))),
      await codeOf(async () => look(dora, await watch(dora))),
      await codeOf(async () => look(fixture.keys.admin, await watch(fixture.keys.admin))),
      // Another’s watch, one for another machine, and one that has expired.
      await codeOf(async () => look(otto, await watch(rita, { organisation: rival }))),
      await codeOf(async () => look(otto, await watch(otto, { machine: '0'.repeat(32) }))),
      await codeOf(async () => look(otto, await watch(otto, { issued: 1, expires: 2 }))),
    ];
    expect(codes).toEqual([...Array.from({ length: 6 }, () => 'E_FORBIDDEN'), 'E_EXPIRED']);
    expect(await asked(0)).toBeUndefined();
  });

  it('says that there is no camera, and what the machine answers', async () => {
    const bytes = await watch(otto);
    expect(await codeOf(() => look(otto, bytes))).toBe('E_STATE');
    await asked(0);
    const given = codeOf(() => look(otto, bytes));
    fixture.context.looks.answered(machine.machine, (await asked())?.look ?? '', {
      code: 'E_UNAVAILABLE',
      message: 'the camera does not answer',
    });
    expect(await given).toBe('E_MACHINE');
  });

  it('does not take a watch as an ordinary transaction', async () => {
    expect(await codeOf(async () => people.take(await watch(otto)))).toBe('E_INPUT');
  });
});
