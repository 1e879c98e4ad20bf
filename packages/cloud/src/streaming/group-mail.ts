import type { Clock, Logger } from '@millrace/base';
import type { Directory, MessageOf } from '@millrace/protocol';
import type { ObjectRepository } from './objects.ts';

/** Records the members of a group as its organisation states them, or which organisation holds a machine. */
export async function takeGroupMail(
  modules: { objects: ObjectRepository; directory: Directory; clock: Clock; logger: Logger },
  message: MessageOf<'group.set' | 'machine.assign'>,
): Promise<void> {
  const { objects, directory, clock, logger } = modules;
  if (message.type === 'group.set') {
    const { group, number, machines } = await objects.setGroup(message, directory, clock.now());
    logger.info({ group, number, machines: machines.length }, 'group of machines set by its organisation');
  } else {
    const { machine, organisation } = await objects.assignMachine(message, directory, clock.now());
    logger.info({ machine, organisation }, 'machine assigned to an organisation by the administrator');
  }
}
