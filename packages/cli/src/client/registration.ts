import { fromHex, MillraceError } from '@millrace/base';
import { machineFromJson } from '../installation/description.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/**
 * Registers the installation's users and machines with the control node, as its administrator; what is registered
 * already stays as it is.
 */
export async function registerAll(admin: Session): Promise<void> {
  const { api, installation } = admin;
  const { users, machines } = installation.description;
  for (const { name, publicKey } of users) {
    const transaction = await signNew(admin, { type: 'user.register', name, publicKey: fromHex(publicKey) });
    await passConflict(api.submit(transaction.bytes));
  }
  const registered = new Set((await api.machines()).map(({ machine }) => machine));
  for (const { registration } of machines) {
    if (registered.has(registration.machine)) continue;
    const transaction = await signNew(admin, { type: 'machine.register', machine: machineFromJson(registration) });
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
