import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName } from '@millrace/identity';
import { type Directory, type Machine, signTransaction, type Transaction } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { controlFixture } from './control-fixture.ts';

let control: Awaited<ReturnType<typeof controlFixture>>;
const admin = generateUserKey();
const cloud = toHex(systemRandom(16));

const signAs = (signer: typeof admin, installation: string, body: object, issued = 1_000) =>
  signTransaction(signer, installation, { ...body, id: systemRandom(16), issued, expires: issued } as Transaction);

/** Recognises the other cloud. */
async function recognise(adminKey = admin, installation = cloud): Promise<void> {
  const { context, keys } = control;
  const body = { type: 'cloud.recognise', cloud: installation, name: 'other', adminKey: adminKey.publicKey };
  const known = {
    installation,
    adminKey: toHex(adminKey.publicKey),
    recognition: toHex(await signAs(keys.admin, context.directory.installation, body)),
    directory: {} as Directory,
  };
  Object.assign(context.directory, { recognised: [...(context.directory.recognised ?? []), known] });
}

const newMachine = (): Machine => {
  const { publicKey } = generateP256Key();
  return { machine: keyName(publicKey), publicKey, serial: 'SN', kind: 'virtual', profile: { factor: 1 } };
};

const introduce = (registration: Uint8Array<ArrayBuffer>, at = cloud) =>
  control.submit('owner', { type: 'machine.introduce', cloud: at, registration });

beforeEach(async () => {
  control = await controlFixture();
});

describe('a machine of another cloud', () => {
  const machine = newMachine();
  const registration = (change: Partial<Machine> = {}, issued?: number) =>
    signAs(admin, cloud, { type: 'machine.register', machine: { ...machine, ...change } }, issued);

  it('is recorded with the documents that prove it', async () => {
    await recognise();
    const document = await registration();
    expect(await introduce(document)).toMatchObject({ machine: machine.machine });
    await introduce(document); // again
    const { records, ledger } = control.context;
    expect(await records.machines.get(machine.machine)).toMatchObject({ registration: machine, cloud });
    const events = await ledger.account(`machine:${machine.machine}`);
    expect(events.map(({ event }) => event.body)).toMatchObject([{ cloud, serial: 'SN' }]);
    expect(events[0]?.event.evidence).toHaveLength(2);
    expect(events[0]?.event.actor).toBe(keyName(admin.publicKey));
  });

  it('is refused unless its cloud is recognised and has registered it', async () => {
    const document = await registration();
    await expect(introduce(document)).rejects.toMatchObject({ code: 'E_CLOUD_UNKNOWN' });
    await recognise();
    const body = { type: 'machine.register', machine };
    const own = await signAs(control.keys.admin, control.context.directory.installation, body);
    await expect(introduce(own)).rejects.toMatchObject({ code: 'E_AUTH' });
    await expect(introduce(await signAs(control.keys.owner, cloud, body))).rejects.toMatchObject({ code: 'E_AUTH' });
    // A registration for a third cloud, by the same administrator.
    const third = await signAs(admin, toHex(systemRandom(16)), body);
    await expect(introduce(third)).rejects.toMatchObject({ code: 'E_SIGNATURE' });
  });

  it('cannot take the place of a machine of this cloud, or of a third one', async () => {
    await recognise();
    const own = await control.addMachine();
    const claimed = await signAs(admin, cloud, { type: 'machine.register', machine: own });
    await expect(introduce(claimed)).rejects.toMatchObject({ code: 'E_CONFLICT' });
    await introduce(await registration());
    const [other, third] = [generateUserKey(), toHex(systemRandom(16))];
    await recognise(other, third);
    const theirs = await signAs(other, third, { type: 'machine.register', machine });
    await expect(introduce(theirs, third)).rejects.toMatchObject({ code: 'E_CONFLICT' });
  });

  it('keeps its newest registration', async () => {
    await recognise();
    const older = await registration({}, 1_000);
    await introduce(await registration({ serial: 'SN-2' }, 2_000));
    await expect(introduce(older)).rejects.toMatchObject({ code: 'E_CONFLICT' });
    const { records } = control.context;
    expect((await records.machines.require(machine.machine)).registration.serial).toBe('SN-2');
  });

  it('is named by a licence together with its cloud only', async () => {
    await recognise();
    await introduce(await registration());
    const design = await control.stored(await control.addDesign(await control.prepare()));
    await expect(control.grant(design, [machine])).rejects.toMatchObject({ code: 'E_LICENCE_INVALID' });
    const licence = await control.grant(design, [machine], { cloud });
    expect(await control.context.records.licences.get(licence)).toBeDefined();
    Object.assign(control.context.directory, { recognised: [] });
    await expect(control.grant(design, [machine], { cloud })).rejects.toMatchObject({ code: 'E_CLOUD_UNKNOWN' });
  });

  it('is not recognised over the network', async () => {
    const body = { type: 'cloud.recognise', cloud, name: 'other', adminKey: admin.publicKey } as const;
    await expect(control.submit('admin', body)).rejects.toMatchObject({ code: 'E_INPUT' });
  });
});
