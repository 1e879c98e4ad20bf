import { fromHex, MillraceError } from '@millrace/base';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/**
 * Registers the users and machines that the administrator knows with the control node. Existing registrations are kept.
 */
export async function registerAll(admin: Session): Promise<void> {
  const { api, contacts } = admin;
  for (const { name, publicKey } of contacts.users) {
    const transaction = await signNew(admin, { type: 'user.register', name, publicKey: fromHex(publicKey) });
    await passConflict(api.submit(transaction.bytes));
  }
  const registered = new Set((await api.machines()).map(({ machine }) => machine));
  for (const { machine, registration } of contacts.machines) {
    if (registered.has(machine)) continue;
    const transaction = await signNew(admin, { type: 'machine.register', machine: registration() });
    await passConflict(api.submit(transaction.bytes));
  }
}

async function passConflict(submitted: Promise<void>): Promise<void> {
  try {
    await submitted;
  } catch (error) {
    if (!(error instanceof MillraceError && error.code === 'E_CONFLICT')) throw error;
  }
}
