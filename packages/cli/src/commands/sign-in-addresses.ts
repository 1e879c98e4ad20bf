import { wipe } from '@millrace/base';
import { formatInvitation, inviteDevice } from '@millrace/client';
import type { Installation } from '../installation/open.ts';
import { firstOrganisations } from '../installation/people.ts';
import { referenceOf } from '../installation/reference.ts';
import { openSession } from '../installation/session.ts';
import type { Context } from './context.ts';

/**
 * Says an address of the console for each of these first people. It signs one browser in, once, within a day: the browser
 * makes a key of its own, another device of the person.
 * @param origin of the console
 */
export async function saySignInAddresses(
  { terminal, clock, random, signal }: Context,
  installation: Installation,
  { origin, users }: { readonly origin: string; readonly users: readonly string[] },
): Promise<void> {
  terminal.say(`The console is at ${origin}. Each address signs one browser in, once, today:`);
  const reference = await referenceOf(installation);
  const people = firstOrganisations.flatMap((organisation) => organisation.people);
  for (const { user, name } of people.filter((person) => users.includes(person.user))) {
    const session = await openSession({ installation, user, clock, random, signal });
    try {
      const { secret } = await inviteDevice(session, { days: 1, keyDays: 30 });
      terminal.say(`   ${name} (${user}): ${origin}/#/sign-in/${formatInvitation({ ...reference, secret })}`);
      wipe(secret);
    } finally {
      session.close();
    }
  }
}
