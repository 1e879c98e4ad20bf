import type { VisitView } from '@millrace/api';
import { fromBase64, MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { recognisedCloud, verifyMachineRegistration } from '@millrace/protocol';
import { cancelPrint, requestPrint } from './print.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// What a user with the same key at two clouds does: `here` is the cloud that has the design, `there` the machine's.

/**
 * Makes a machine of the other cloud known here, so that licences may name it.
 * @param name name, serial number or identifier of the machine there
 * @returns its identifier
 * @throws {MillraceError} E_CLOUD_UNKNOWN if the other cloud is not recognised here, E_NOT_FOUND; E_SIGNATURE or E_AUTH
 *   if the administrator there did not register the machine
 */
export async function introduceMachine(here: Session, there: Session, name: string): Promise<string> {
  const { installation } = there.directory;
  const other = recognisedCloud(here.directory, installation);
  const known = there.contacts.machines.find((machine) =>
    [machine.name, machine.machine, machine.serial].includes(name),
  );
  const views = await there.api.machines();
  const view = views.find(({ machine, serial }) => machine === (known?.machine ?? name) || serial === name);
  if (view === undefined) throw new MillraceError('E_NOT_FOUND', `the other cloud has no machine ${name}`);
  const registration = fromBase64(view.document);
  const { machine } = await verifyMachineRegistration(registration, other);
  if (machine !== view.machine)
    throw new MillraceError('E_MACHINE_UNKNOWN', `control shows the registration of another machine than ${name}`);
  const body = { type: 'machine.introduce', cloud: installation, registration } as const;
  await here.api.submit((await signNew(here, body)).bytes);
  return machine;
}

export interface VisitTerms {
  readonly licence: string;
  readonly machine: string;
  /** The print and the visit are refused if the machine has not started within this time, ms. */
  readonly startWithinMs?: number | undefined;
}

/**
 * Orders an object of a licence on a machine of the other cloud: signs the print for the one cloud and the visit for the
 * other.
 * @returns both identifiers
 * @throws {MillraceError} E_CLOUD_UNKNOWN, and as `requestPrint`
 */
export async function requestVisit(
  here: Session,
  there: Session,
  { licence, machine, startWithinMs }: VisitTerms,
): Promise<{ readonly print: string; readonly visit: string }> {
  if (keyName(here.signer.publicKey) !== keyName(there.signer.publicKey))
    throw new MillraceError('E_INPUT', 'both clouds need to know the same key');
  const print = await requestPrint(here, licence, machine, startWithinMs);
  const body = { type: 'visit.request', cloud: here.directory.installation, print, licence, machine } as const;
  const { id, bytes } = await signNew(there, body, there.random(16), startWithinMs);
  try {
    await there.api.submit(bytes);
  } catch (error) {
    // Without the visit the print would wait in vain.
    await cancelPrint(here, print).catch(() => undefined);
    throw error;
  }
  return { print, visit: id };
}

/**
 * Cancels an order at both clouds: the visit first, which decides, then the print, which would wait in vain. It is safe
 * to repeat. The other cloud names the print, so only a print on that cloud's machine is cancelled.
 * @throws {MillraceError} E_STATE once the machine has the visa, E_FORBIDDEN (another user's), E_INPUT (of another cloud),
 *   E_EVIDENCE (of no print on that cloud's machine)
 */
export async function cancelVisit(here: Session, there: Session, view: VisitView): Promise<void> {
  const { visit, cloud, machine, state } = view;
  if (cloud !== here.directory.installation)
    throw new MillraceError('E_INPUT', `the visit ${visit} is for the cloud ${cloud}`);
  const print = await here.api.print(view.print);
  const registered = (await here.api.machines()).find((known) => known.machine === machine);
  if (print.machine !== machine || registered?.cloud !== there.directory.installation)
    throw new MillraceError('E_EVIDENCE', `print ${view.print} is on no machine of the cloud ${there.directory.name}`);
  if (state !== 'cancelled') await there.api.submit((await signNew(there, { type: 'visit.cancel', visit })).bytes);
  try {
    await cancelPrint(here, view.print);
  } catch (error) {
    // It has expired, or an earlier attempt has cancelled it.
    if (!(error instanceof MillraceError && error.code === 'E_STATE')) throw error;
  }
}
