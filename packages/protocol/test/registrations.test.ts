import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey } from '@millrace/identity';
import { codeOf, createProtocolFixture, dated } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import {
  openDesignSecret,
  registrationHash,
  SEALED_SECRET_BYTES,
  sealDesignSecret,
  signTransaction,
  type Transaction,
  verifyCredential,
  verifyMachineRegistration,
} from '../src/index.ts';

const { keys, directory, machine } = createProtocolFixture();
const sign = (document: object, signer = keys.admin, installation = directory.installation) =>
  signTransaction(signer, installation, { ...dated(), ...document } as Transaction);
const user = { type: 'user.register', publicKey: keys.owner.publicKey, name: 'owner' };

describe('a registration', () => {
  it('of a user is accepted with the administrator’s signature, whenever it was made', async () => {
    expect((await verifyCredential(await sign(user), directory)).publicKey).toEqual(keys.owner.publicKey);
    const code = async (document: Promise<Uint8Array>) =>
      codeOf(async () => verifyCredential(await document, directory));
    expect(await code(sign(user, generateUserKey()))).toBe('E_AUTH');
    expect(await code(sign(user, keys.owner))).toBe('E_AUTH');
    expect(await code(sign(user, keys.admin, toHex(systemRandom(16))))).toBe('E_SIGNATURE');
    expect(await code(sign({ type: 'machine.register', machine }))).toBe('E_INPUT');
  });

  it('of a machine is accepted too, under the name of its key', async () => {
    expect(await verifyMachineRegistration(await sign({ type: 'machine.register', machine }), directory)).toEqual(
      machine,
    );
    const code = async (document: Promise<Uint8Array>) =>
      codeOf(async () => verifyMachineRegistration(await document, directory));
    expect(await code(sign({ type: 'machine.register', machine }, keys.owner))).toBe('E_AUTH');
    expect(await code(sign(user))).toBe('E_INPUT');
    const token = { manufacturer: 'Maker', model: 'HSM 2', serial: '17', hardware: true };
    const graded = { ...machine, token };
    expect(
      await verifyMachineRegistration(await sign({ type: 'machine.register', machine: graded }), directory),
    ).toEqual(graded);
    expect(registrationHash(graded)).not.toEqual(registrationHash(machine));
    const odd = { ...machine, token: { ...token, model: 'x'.repeat(17) } };
    expect(await code(sign({ type: 'machine.register', machine: odd }))).toBe('E_INPUT');
    const another = { ...machine, publicKey: generateP256Key().publicKey };
    expect(await code(sign({ type: 'machine.register', machine: another }))).toBe('E_MACHINE_UNKNOWN');
  });
});

describe('a design secret', () => {
  const binding = { installation: directory.installation, licence: '1'.repeat(32), design: '2'.repeat(32) };

  it('opens only for the machine, licence, design and installation that it was sealed for', async () => {
    const secret = systemRandom(32);
    const sealed = await sealDesignSecret(machine, binding, secret);
    expect(sealed).toHaveLength(SEALED_SECRET_BYTES);
    const open = (change: Partial<typeof binding>, key = keys.machine) =>
      openDesignSecret(key, { ...binding, ...change }, sealed);
    expect(await open({})).toEqual(secret);
    expect(await codeOf(() => open({}, generateP256Key()))).toBe('E_SEAL');
    for (const name of ['installation', 'licence', 'design'] as const)
      expect(await codeOf(() => open({ [name]: '3'.repeat(32) }))).toBe('E_SEAL');
  });

  it('is 32 bytes long', async () => {
    const sealed = await sealDesignSecret(machine, binding, systemRandom(31));
    expect(await codeOf(() => openDesignSecret(keys.machine, binding, sealed))).toBe('E_SEAL');
  });
});
