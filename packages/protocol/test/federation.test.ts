import { systemRandom } from '@millrace/base';
import { generateP256Key, generateUserKey } from '@millrace/identity';
import {
  anyId,
  createOtherCloud,
  createTwoClouds,
  createVisit,
  type OtherCloud,
  type VisitChanges,
} from '@millrace/testkit/protocol/federation';
import { codeOf, createOpening, NOW, type ProtocolFixture } from '@millrace/testkit/protocol/support';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  CLOCK_SKEW_MS,
  describeCloud,
  directoryAt,
  firstDocument,
  linkName,
  type Opening,
  recognisedCloud,
  signDirectory,
  verifyDirectory,
  verifyOpening,
} from '../src/index.ts';

let here: ProtocolFixture;
let there: OtherCloud;
beforeAll(async () => {
  ({ here, there } = await createTwoClouds());
});

const context = (changes: { now?: number; begun?: boolean; directory?: ProtocolFixture['directory'] } = {}) => ({
  directory: changes.directory ?? here.directory,
  now: changes.now ?? NOW,
  designOf: async () => ({ owner: here.keys.owner.publicKey, coreHash: here.coreHash }),
  begun: async () => changes.begun ?? false,
  credits: async () => 0,
});
const verify = (opening: Opening, changes = {}) => codeOf(() => verifyOpening(opening, context(changes)));
const withChanges = async (changes: VisitChanges) => verify(await createVisit(here, there, changes));

describe('a stream to a machine of a recognised cloud', () => {
  it('is accepted with the visa of that cloud and the holder’s request', async () => {
    const { link, machine } = await verifyOpening(await createVisit(here, there), context());
    expect(link).toBe(linkName(machine.machine, there.directory.installation));
    expect(link).not.toBe(machine.machine);
  });

  it('needs a visa, and a machine of the own cloud must not have one', async () => {
    const visit = await createVisit(here, there);
    expect(await verify({ ...visit, admission: undefined })).toBe('E_VISA');
    expect(await verify({ ...(await createOpening(here)), admission: visit.admission })).toBe('E_VISA');
  });

  it('needs a recognition in force', async () => {
    const visit = await createVisit(here, there);
    expect(await verify(visit, { directory: { ...here.directory, recognised: [] } })).toBe('E_CLOUD_UNKNOWN');
  });

  it.each([
    ['another print', () => ({ visa: { print: anyId() } }), 'E_VISA'],
    ['another licence', () => ({ visa: { licence: anyId() } }), 'E_VISA'],
    ['another machine', () => ({ visa: { machine: anyId() } }), 'E_VISA'],
    ['another run', () => ({ visa: { run: systemRandom(16) } }), 'E_VISA'],
    ['another cloud', () => ({ visa: { cloud: anyId() } }), 'E_VISA'],
    ['another request', () => ({ visa: { request: systemRandom(32) } }), 'E_VISA'],
    ['another visit', () => ({ visa: { visit: anyId() } }), 'E_VISA'],
    ['a request about another print', () => ({ request: { print: anyId() } }), 'E_VISA'],
    ['a request about another licence', () => ({ request: { licence: anyId() } }), 'E_VISA'],
    ['a request to another cloud', () => ({ request: { cloud: anyId() } }), 'E_VISA'],
    ['a visa of a stranger', () => ({ signVisa: generateP256Key() }), 'E_AUTH'],
    ['a request of a stranger', () => ({ signRequest: generateUserKey() }), 'E_AUTH'],
    ['a request signed for the design’s cloud', () => ({ requestFor: here.directory.installation }), 'E_SIGNATURE'],
    ['a visa signed for the design’s cloud', () => ({ visaFor: here.directory.installation }), 'E_SIGNATURE'],
    ['a machine that another cloud has registered', () => ({ registrar: createOtherCloud() }), 'E_AUTH'],
    ['another registration', () => ({ registered: { ...here.machine, profile: { factor: 9 } } }), 'E_MACHINE_UNKNOWN'],
  ] as const)('is refused with %s', async (_, changes, code) => {
    expect(await withChanges(changes())).toBe(code);
  });

  it('checks the age of visa and request when the object begins only', async () => {
    const old = { issued: NOW - 9_000_000, expires: NOW - CLOCK_SKEW_MS - 1 };
    for (const changes of [{ visa: old }, { request: old }]) {
      const visit = await createVisit(here, there, changes);
      expect(await verify(visit)).toBe('E_EXPIRED');
      expect(await verify(visit, { begun: true })).toBe('nothing thrown');
    }
  });

  it('refuses a visa of a replaced permit key', async () => {
    const newer = generateP256Key();
    const known = recognisedCloud(here.directory, there.directory.installation);
    const replaced = {
      ...known,
      directory: {
        ...known.directory,
        permitKey: Buffer.from(newer.publicKey).toString('hex'),
        former: { permitKeys: [{ key: there.directory.permitKey, until: NOW - 2 * CLOCK_SKEW_MS }], logKeys: [] },
      },
    };
    const directory = { ...here.directory, recognised: [replaced] };
    expect(await verify(await createVisit(here, there), { directory })).toBe('E_PERMIT');
    expect(await verify(await createVisit(here, there, { signVisa: newer }), { directory })).toBe('nothing thrown');
  });
});

describe('the directory', () => {
  it('describes a recognised cloud without the clouds that it recognises itself', async () => {
    const other = firstDocument({ ...there.directory, userAuthority: 'PEM' }, 1_000);
    const entry = { recognition: 'ab', since: 2_000, cloud: describeCloud(other) };
    const cloud = describeCloud({ ...other, recognised: [entry] });
    const document = { ...firstDocument(here.directory, 1_000), recognised: [{ ...entry, cloud }] };
    const signed = await signDirectory(here.keys.admin, document);
    const anchor = { installation: here.directory.installation, adminKey: here.directory.adminKey };
    const known = recognisedCloud(directoryAt(verifyDirectory(signed, anchor), 3_000), there.directory.installation);
    expect(known).toMatchObject({ adminKey: there.directory.adminKey, recognition: 'ab' });
    expect(known.directory).toMatchObject({ permitKey: there.directory.permitKey });
    expect(known.directory.userAuthority).toBeUndefined();
    expect(known.directory.recognised).toBeUndefined();
  });

  it('lists a cloud once', async () => {
    const entry = { recognition: 'ab', since: 0, cloud: describeCloud(firstDocument(there.directory, 0)) };
    const document = { ...firstDocument(here.directory, 0), recognised: [entry, entry] };
    await expect(signDirectory(here.keys.admin, document)).rejects.toMatchObject({ code: 'E_CONFIG' });
  });
});
