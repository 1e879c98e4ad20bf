import { toHex } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import { createOpening, createProtocolFixture, dated, registerKey } from '@millrace/testkit/protocol/support';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readTransaction, signTransaction } from '../src/documents.ts';
import {
  activeLicence,
  type LicenceStatement,
  type LicenceStatus,
  requireActive,
  requireNotStopped,
  statusAfter,
  verifyLicenceStatement,
} from '../src/licence-status.ts';

const licence = '2'.repeat(32);
type Short = readonly [type: 'suspend' | 'reinstate' | 'revoke' | 'stop', number: number];
const statement = ([type, number]: Short): LicenceStatement => {
  const common = { ...dated(), licence, number };
  if (type === 'suspend') return { type: 'licence.suspend', ...common };
  if (type === 'reinstate') return { type: 'licence.reinstate', ...common };
  return { type: 'licence.revoke', ...common, stop: type === 'stop' };
};
const after = (...all: readonly Short[]): LicenceStatus =>
  all.map(statement).reduce((status, next) => statusAfter(status, next), activeLicence);

const code = (check: () => void): string => {
  try {
    check();
    return 'ok';
  } catch (error) {
    return (error as { code: string }).code;
  }
};
const begin = (status: LicenceStatus) => code(() => requireActive(status, licence));
const goOn = (status: LicenceStatus) => code(() => requireNotStopped(status, licence));

describe('the status of a licence', () => {
  it('is that of its newest statement', () => {
    expect(begin(after())).toBe('ok');
    expect(begin(after(['suspend', 3]))).toBe('E_LICENCE_SUSPENDED');
    expect(begin(after(['suspend', 3], ['reinstate', 4]))).toBe('ok');
    expect(begin(after(['suspend', 3], ['reinstate', 4], ['suspend', 3]))).toBe('ok');
    expect(begin(after(['suspend', 5], ['reinstate', 4]))).toBe('E_LICENCE_SUSPENDED');
  });

  it('a revocation is permanent; objects in progress are finished unless it stops them', () => {
    for (const later of [[], [['reinstate', 9]], [['suspend', 8]]] as const) {
      const status = after(['revoke', 5], ...later);
      expect(begin(status)).toBe('E_LICENCE_REVOKED');
      expect(goOn(status)).toBe('ok');
      expect(goOn(after(['stop', 5], ...later))).toBe('E_LICENCE_REVOKED');
    }
    expect(goOn(after(['stop', 5], ['revoke', 6]))).toBe('E_LICENCE_REVOKED');
  });

  it('does not depend on the order or repetition of statements', () => {
    const one = fc.tuple(fc.constantFrom('suspend', 'reinstate', 'revoke', 'stop'), fc.integer({ min: 1, max: 5 }));
    fc.assert(
      fc.property(
        fc
          .array(one as fc.Arbitrary<Short>, { maxLength: 8 })
          .chain((all) =>
            fc.tuple(fc.constant(all), fc.shuffledSubarray([...all, ...all], { minLength: 2 * all.length })),
          ),
        ([all, shuffled]) => {
          expect(after(...shuffled)).toEqual(after(...all));
        },
      ),
    );
  });
});

describe('a statement', async () => {
  const fixture = createProtocolFixture();
  const { keys, directory } = fixture;
  const { licence: grant, licenceSigner } = await createOpening(fixture);
  const granted = readTransaction(grant);
  const name = toHex(granted.id);
  const ownerOf = () => ({ owner: keys.owner.publicKey });
  const sign = (signer = keys.owner, on = name) =>
    signTransaction(signer, directory.installation, {
      type: 'licence.revoke',
      ...dated(),
      licence: on,
      number: 7,
      stop: true,
    });
  const verify = async (signed: Promise<Uint8Array>, changes = {}, signer = keys.owner) => {
    const transaction = await signed;
    const credential = await registerKey(keys.admin, directory.installation, signer.publicKey);
    const statement = { licence: grant, licenceSigner, transaction, credential, ...changes };
    return verifyLicenceStatement(statement, { directory, ownerOf }).then(
      (verified) => verified.licence,
      (error: { code: string }) => error.code,
    );
  };

  it('is accepted only with the signature of the design’s owner, for the owner’s own licence', async () => {
    expect(await verify(sign())).toBe(name);
    for (const other of [keys.holder, keys.admin, generateUserKey()]) {
      expect(await verify(sign(other), {}, other)).toBe('E_AUTH');
      expect(await verify(sign(other))).toBe('E_AUTH'); // with the owner's credential
    }
    expect(await verify(sign(keys.owner, licence))).toBe('E_FORBIDDEN');
    const clear = { type: 'alarm.clear' as const, ...dated(), object: `${name}-1` };
    expect(await verify(signTransaction(keys.owner, directory.installation, clear))).toBe('E_FORBIDDEN');
    expect(await verify(sign(), { licence: await sign() })).toBe('E_LICENCE_INVALID');
    expect(await verify(signTransaction(keys.owner, '0'.repeat(32), { ...clear }))).toBe('E_SIGNATURE');
  });
});
