import { systemRandom, toBase64 } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName, type P256Key } from '@millrace/identity';
import { type Machine, type MachineDocument, sha256, signMachineDocument } from '@millrace/protocol';
import { createPeople, type TestPerson } from '@millrace/testkit/protocol/people';
import { createProtocolFixture, NOW } from '@millrace/testkit/protocol/support';
import { beforeAll, describe, expect, it } from 'vitest';
import { previousSettings, readSettings, type SettingsView, verifySettings } from '../src/index.ts';

const { keys, directory } = createProtocolFixture();
const people = createPeople({ admin: keys.admin, installation: directory.installation, now: () => NOW });
const key = generateP256Key();
const machine: Machine = {
  ...{ machine: keyName(key.publicKey), publicKey: key.publicKey, serial: 'SN', kind: 'virtual' },
  profile: { factor: 1 },
};
let organisation: string;
let operator: TestPerson;
let designer: TestPerson;
let registered: { document: string };
beforeAll(async () => {
  const bureau = await people.organisation('Bureau', 'bureau');
  organisation = bureau.organisation;
  operator = await people.person(bureau, 'Olga', ['operator']);
  designer = await people.person(bureau, 'Dora', ['designer']);
  registered = { document: toBase64(await people.sign(keys.admin, { type: 'machine.register', machine })) };
});

async function shown(by = operator, reportedBy: P256Key = key, reported: object = {}): Promise<SettingsView> {
  const body = { type: 'machine.settings' as const, organisation, number: 3, machines: [machine.machine] };
  const transaction = await people.sign(by.key, { ...body, settings: { stallMs: 900 } });
  const report = await signMachineDocument(reportedBy, directory.installation, {
    type: 'settings.report',
    ...{ id: systemRandom(16), issued: NOW, expires: NOW + 60_000 },
    ...{ machine: machine.machine, statement: sha256(transaction), number: 3, outcome: 'applied' },
    ...reported,
  } as MachineDocument);
  return {
    ...{ machine: machine.machine, organisation, number: 3, created: NOW, state: 'applied' },
    setBy: { key: keyName(by.key.publicKey) },
    document: toBase64(transaction),
    credential: toBase64(by.credential),
    report: toBase64(report),
    previous: { number: 3, document: toBase64(transaction) },
  };
}
const verify = (view: SettingsView) => verifySettings({ directory } as never, view, registered);

describe('settings that control shows', () => {
  it('are those that the organisation has signed and the machine has reported', async () => {
    expect(await verify(await shown())).toEqual({ stallMs: 900 });
    expect(previousSettings(await shown())).toEqual({ stallMs: 900 });
    const { report: _, ...pending } = await shown();
    expect(await verify({ ...pending, state: 'pending' })).toEqual({ stallMs: 900 });
  });

  it.each<[string, string, () => Promise<SettingsView>]>([
    ['another outcome than the machine reported', 'E_CONFLICT', async () => ({ ...(await shown()), state: 'refused' })],
    ['a report on other settings', 'E_CONFLICT', () => shown(operator, key, { statement: systemRandom(32) })],
    ['a report of another machine', 'E_AUTH', () => shown(operator, generateP256Key())],
    ['another number', 'E_CONFLICT', async () => ({ ...(await shown()), number: 4 })],
    ['settings of a designer', 'E_FORBIDDEN', () => shown(designer)],
    ['settings of a stranger', 'E_AUTH', () => shown({ ...operator, key: generateUserKey() })],
    [
      'settings as applied without a report',
      'E_CONFLICT',
      async () => {
        const { report: _, ...view } = await shown();
        return view;
      },
    ],
  ])('are refused if it shows %s', async (_, code, view) => {
    await expect(verify(await view())).rejects.toMatchObject({ code });
  });

  it('have a policy in the form of safety.json', () => {
    const policy = { version: 1, volume: { x: [0, 1], y: [0, 1], z: [0, 1] }, feed: { x: 1, y: 1, z: 1 } };
    expect(readSettings({ safety: policy, giveUpMs: 500 }, 'file')).toMatchObject({ giveUpMs: 500 });
    for (const wrong of [{ safety: { version: 1 } }, { port: '/dev/ttyS0' }, { stallMs: 1 }])
      expect(() => readSettings(wrong, 'file')).toThrowError(expect.objectContaining({ code: 'E_INPUT' }));
  });
});
