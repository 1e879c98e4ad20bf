import { copyBytes, equalBytes, fromHex, MillraceError, toHex } from '@millrace/base';
import { keyId, parseSign1 } from '@millrace/identity';
import {
  type Admission,
  type PermitRequest,
  readSpoolLoad,
  readTransaction,
  recognisedCloud,
  registrationHash,
  type TransactionOf,
  type VisitingSpool,
  verifyAdmission,
  verifyMachineRegistration,
  verifyPermitKey,
  visitorFact,
  wantsCertified,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { type LicenceRecord, readLicence } from './licence-records.ts';
import type { MachineRecord, PrintRecord } from './records.ts';
import type { Submitted } from './submitted.ts';

/**
 * Records a machine that the administrator of a recognised cloud has registered, so that licences may name it. Safe to
 * repeat; a newer registration by the same cloud replaces the older one.
 * @throws {MillraceError} E_CLOUD_UNKNOWN; E_SIGNATURE or E_AUTH if that administrator has not signed the registration;
 *   E_CONFLICT if the machine belongs to this cloud or to a third one
 */
export async function introduceMachine(
  context: ControlContext,
  { body, actor }: Submitted<TransactionOf<'machine.introduce'>>,
): Promise<{ machine: string }> {
  const { directory, records, ledger } = context;
  authorize(actor, 'machine.introduce');
  const { cloud } = body;
  const { recognition, ...other } = recognisedCloud(directory, cloud);
  const document = copyBytes(body.registration);
  const registration = await verifyMachineRegistration(document, other);
  const { machine } = registration;
  return context.mutexes.run(machine, async () => {
    const known = await records.machines.get(machine);
    if (known !== undefined && known.cloud !== cloud)
      throw new MillraceError('E_CONFLICT', `the machine ${machine} belongs to another cloud`, { data: { machine } });
    if (known !== undefined && equalBytes(known.document, document)) return { machine };
    if (known !== undefined && readTransaction(known.document).issued > readTransaction(document).issued)
      throw new MillraceError('E_CONFLICT', `a newer registration of the machine ${machine} is known here`);
    const [registered, recognised] = [readTransaction(document), readTransaction(fromHex(recognition))];
    if (registered.type !== 'machine.register' || recognised.type !== 'cloud.recognise')
      throw new MillraceError('E_DIRECTORY', 'the directory holds no recognition of the cloud');
    await ledger.append({
      ...visitorFact(registered, recognised),
      evidence: [document, fromHex(recognition)],
      eventId: `machine/${cloud}/${toHex(registered.id)}`,
    });
    await records.machines.put(machine, { registration, hash: registrationHash(registration), document, cloud });
    return { machine };
  });
}

/** What a machine of another cloud shows when it calls home. */
export interface Visiting {
  readonly cloud: string;
  readonly visa: Uint8Array;
  readonly request: Uint8Array;
  /** `permit-key.register` of the key that has signed the visa, by that cloud's administrator. */
  readonly key: Uint8Array;
}

type Shown = NonNullable<PrintRecord['admission']>;

/** The admission that the proactive nodes verify. @param registration as that cloud's administrator signed it */
export function admissionOf(
  { visa, request, signers }: Pick<Shown, 'visa' | 'request' | 'signers'>,
  registration: Uint8Array,
): Admission {
  const shown = { visa: copyBytes(visa), request: copyBytes(request), registration: copyBytes(registration) };
  if (signers === undefined) return shown;
  const { operator, supplier } = signers;
  return { ...shown, signers: { operator: copyBytes(operator), supplier: copyBytes(supplier) } };
}

/**
 * Verifies that a machine may receive the stream of this print. An object that has begun keeps the admission with which
 * it began.
 * @returns the admission to record, and with what the machine's spool is verified; nothing for a machine of this cloud
 * @throws {MillraceError} as `verifyAdmission`; E_MATERIAL if who signed for the machine's spool is not enrolled here
 */
export async function admit(
  { directory, records, clock }: ControlContext,
  print: PrintRecord,
  of: { readonly machine: MachineRecord; readonly request: PermitRequest; readonly licence: LicenceRecord },
  visiting: Visiting | undefined,
): Promise<{ readonly admission?: Shown; readonly visiting?: VisitingSpool | undefined }> {
  const { registration: machine, document, cloud } = of.machine;
  if (visiting === undefined || cloud === undefined) return {};
  const begins = print.admission === undefined;
  const { visa, request, key } = print.admission ?? visiting;
  const licence = readLicence(of.licence);
  const signers = begins ? await signersOf({ records }, of.request, licence) : print.admission?.signers;
  const admission = {
    ...{ visa: copyBytes(visa), request: copyBytes(request), key: copyBytes(key) },
    ...(signers && { signers }),
  };
  const signer = await records.users.require(toHex(parseSign1(print.transaction).keyId));
  const visited = {
    licence,
    print: print.print,
    holder: copyBytes(signer.publicKey),
    machine,
    request: of.request,
  };
  const now = begins ? clock.now() : 'any time';
  const spool = await verifyAdmission(directory, visited, admissionOf(admission, document), now);
  // Certificates need the registration of the key.
  const registered = await verifyPermitKey(admission.key, recognisedCloud(directory, cloud));
  if (!equalBytes(keyId(registered), parseSign1(admission.visa).keyId))
    throw new MillraceError('E_VISA', 'the key that has signed the visa is registered differently');
  return { admission, visiting: spool };
}

/**
 * The credentials at this cloud of the keys that signed for the machine's spool at its own cloud. Undefined if the
 * licence wants no certified material.
 */
async function signersOf(
  { records }: Pick<ControlContext, 'records'>,
  { load, material }: PermitRequest,
  licence: TransactionOf<'licence.grant'>,
): Promise<Shown['signers']> {
  const certificate = load && readSpoolLoad(load).certificate;
  if (load === undefined || certificate === undefined || !wantsCertified(licence, material)) return undefined;
  const credential = async (document: Uint8Array, who: string) => {
    const key = toHex(parseSign1(document).keyId);
    const user = await records.users.get(key);
    if (user === undefined)
      throw new MillraceError('E_MATERIAL', `the ${who}’s key ${key} is not enrolled here: \`millrace login --key\``);
    return user.document;
  };
  return { operator: await credential(load, 'operator'), supplier: await credential(certificate, 'supplier') };
}
