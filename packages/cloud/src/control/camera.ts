import { type Bytes, MillraceError, systemRandom, toHex } from '@millrace/base';
import { machineSchema } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import type { Look } from './look-board.ts';
import { verifyRepeatable } from './people.ts';
import type { MachineRecord } from './records.ts';

// Pictures of machines' cameras (docs/adr/0092). Control passes a signed request on, and gives back what the machine has
// sealed to the viewer. It keeps nothing and can open nothing.

/**
 * Asks a machine for a picture.
 * @param user key name of the caller, whom the policy allows to look
 * @returns what the machine has signed, and sealed to the key of the watch
 * @throws {MillraceError} E_FORBIDDEN (another's watch, or of another machine), E_STATE (no camera), the machine's
 *   refusal, and as `verifyRepeatable` and `CommandBoard.submit`
 */
export async function lookAt(
  context: ControlContext,
  { registration, organisation, assignment, cloud }: MachineRecord,
  { bytes, nonce }: { readonly bytes: Bytes; readonly nonce: string },
  user: string,
): Promise<Bytes> {
  const { looks, records, clock } = context;
  const { machine } = registration;
  const { body, key } = await verifyRepeatable(context, bytes, 'camera.watch');
  if (key !== user || body.machine !== machine || body.organisation !== organisation || assignment === undefined)
    throw new MillraceError('E_FORBIDDEN', 'the caller has not signed this request for this machine');
  if (cloud !== undefined || !looks.has(machine, clock.now()))
    throw new MillraceError('E_STATE', 'no camera of this machine can be reached', { data: { machine } });
  const { document } = await records.users.require(key);
  const look = toHex(systemRandom(16));
  const picture = await looks.submit(machine, machine, look, {
    look,
    watch: { transaction: bytes, credential: new Uint8Array(document) },
    assignment: new Uint8Array(assignment.transaction),
    machine: machineSchema.parse(registration),
    nonce,
  });
  if (picture === undefined) throw new MillraceError('E_MACHINE', 'the machine has answered without a picture');
  return picture;
}

/** Waits until somebody looks at the machine. @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN */
export async function nextLook(
  { looks, records, clock }: ControlContext,
  machine: string,
  waitMs: number,
  gone: AbortSignal,
): Promise<Look | undefined> {
  const { cloud } = await records.machines.require(machine);
  if (cloud !== undefined) throw new MillraceError('E_FORBIDDEN', 'the machine belongs to another cloud');
  looks.waits(machine, clock.now());
  return looks.next(machine, waitMs, gone);
}
