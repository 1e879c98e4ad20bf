import type { Bytes } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { EventRequest } from '@millrace/ledger';
import { type Machine, registrationHash, type TransactionOf } from '@millrace/protocol';
import { certify, INSTALLATION, logKeyOf, makeKeys, makeStory } from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { createPeople, type TestOrganisation, type TestPerson } from '@millrace/testkit/protocol/people';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkCertificate } from '../src/certificates.ts';

const keys = makeKeys();
const trust = { logKey: logKeyOf(keys), owner: keys.owner.publicKey, authority: keys.admin.publicKey };
const people = createPeople({ admin: keys.admin, installation: INSTALLATION });
const machine: Machine = {
  machine: keyName(keys.machine.publicKey),
  publicKey: keys.machine.publicKey,
  serial: 'SN-1',
  kind: 'virtual',
  profile: { factor: 1 },
};
const group = 'cd'.repeat(16);

let bureau: TestOrganisation;
let operator: TestPerson;
let rival: TestPerson;
beforeAll(async () => {
  bureau = await people.organisation('Bureau', 'bureau');
  operator = await people.person(bureau, 'Olga', ['operator']);
  rival = await people.person(await people.organisation('Rival', 'bureau'), 'Rita', ['operator']);
});

type Terms = Pick<TransactionOf<'licence.grant'>, 'machines' | 'groups'>;
const policy = (machines: 'named' | 'any') => [{ organisation: bureau.organisation, group, machines }];
const any = (): Terms => ({ machines: [], groups: policy('any') });
const named = (): Terms => ({
  machines: [{ machine: machine.machine, registration: registrationHash(machine), groups: [group] }],
  groups: policy('named'),
});

/** Documents of a membership, as evidence of the permit. */
async function membership(by = operator, changes: Partial<TransactionOf<'machine.assign'>> = {}) {
  const { organisation } = bureau;
  const stated = { organisation, group, kind: 'site' as const, name: 'Graz', number: 1, machines: [machine.machine] };
  const assigned = { machine: machine.machine, registration: registrationHash(machine), organisation, number: 1 };
  return [
    await people.sign(by.key, { type: 'group.set', ...stated }),
    by.credential,
    await people.sign(keys.admin, { type: 'machine.assign', ...assigned, ...changes }),
  ];
}

/** The verdict on an object whose permit has these documents of a membership behind it. */
async function verdict(terms: Terms, shown: readonly Bytes[], trusted: object = trust) {
  const { events, object } = await makeStory(keys, { licence: terms });
  const behind = (event: EventRequest): EventRequest =>
    event.type === 'permitted' ? { ...event, evidence: [...(event.evidence ?? []), ...shown] } : event;
  return checkCertificate(await certify(keys, events.map(behind), object), trusted as typeof trust);
}
const refusal = (...told: Parameters<typeof verdict>) => codeOf(verdict(...told));

describe('a certificate of an object that a member of a group has made', () => {
  it('shows who stated the membership, and what it does not prove', async () => {
    for (const terms of [any(), named()]) {
      const { checked, unchecked } = await verdict(terms, await membership());
      expect(checked.join('\n')).toContain(`site: Graz (${group}): Olga of Bureau`);
      expect(unchecked.join('\n')).toContain('had removed the machine from the site');
    }
  });

  it('needs the membership, signed for the organisation that holds the machine', async () => {
    for (const terms of [any(), named()]) {
      expect(await refusal(terms, [])).toBe('E_EVIDENCE');
      expect(await refusal(terms, await membership(rival))).toBe('E_EVIDENCE');
      const [, , elsewhere] = await membership(operator, { organisation: undefined });
      const [statement, credential, assignment] = await membership();
      expect(await refusal(terms, [statement, credential, elsewhere] as Bytes[])).toBe('E_EVIDENCE');
      expect(await refusal(terms, [statement, credential] as Bytes[])).toBe('E_EVIDENCE');
      expect(await refusal(terms, [assignment] as Bytes[])).toBe('E_EVIDENCE');
    }
    // A licence that names the machine alone has no use for it.
    const alone = { machines: [{ machine: machine.machine, registration: registrationHash(machine) }] };
    expect(await refusal(alone, await membership())).toBe('E_EVIDENCE');
  });

  it('proves no membership without the administrator’s key', async () => {
    const { authority: _none, ...owner } = trust;
    expect(await refusal(named(), await membership(), owner)).toBe('E_EVIDENCE');
  });
});
