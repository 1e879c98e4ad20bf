import { systemClock, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import { type OrganisationKind, type PersonRole, proveInvitation } from '@millrace/protocol';
import { createPeople } from '@millrace/testkit/protocol/people';
import { enrolKey } from '../src/control/people.ts';
import { handleTransaction } from '../src/control/transactions.ts';
import type { controlFixture } from './control-fixture.ts';

/** People of organisations whom a control node in memory has enrolled. */
export function peopleFixture({ context, keys }: Awaited<ReturnType<typeof controlFixture>>) {
  const { installation } = context.directory;
  const people = createPeople({ admin: keys.admin, installation });
  const take = (bytes: Uint8Array) => handleTransaction(context, bytes as never, {}, () => undefined);
  return {
    sign: people.sign,
    take,
    organisation: async (name: string, kind: OrganisationKind): Promise<string> => {
      const { organisation, document } = await people.organisation(name, kind);
      await take(document);
      return organisation;
    },
    enrol: async (organisation: string, role: PersonRole, until = systemClock.now() + 1e9): Promise<MemorySigner> => {
      const [key, invitation] = [generateUserKey(), generateUserKey()];
      const person = toHex(systemRandom(16));
      const invited = { organisation, person, name: role, roles: [role], invitation: invitation.publicKey, until };
      await take(await people.sign(keys.admin, { type: 'member.invite', ...invited }));
      const proof = await proveInvitation(invitation, installation, key.publicKey);
      const named = { invitation: keyName(invitation.publicKey), publicKey: key.publicKey, device: 'laptop' };
      await enrolKey(context, await people.sign(key, { type: 'key.enrol', ...named, proof }));
      return key;
    },
  };
}
