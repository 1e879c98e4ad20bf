import { type Bytes, copyBytes, equalBytes, toHex } from '@millrace/base';
import { keyName, parseSign1 } from '@millrace/identity';
import type { CertifiedAccount, LoggedEvent } from '@millrace/ledger';
import {
  activeLicence,
  isLicenceStatement,
  type LicenceStatus,
  leftFact,
  licenceFact,
  type Machine,
  machineFact,
  readCredential,
  readTransaction,
  registrationHash,
  statusAfter,
  statusFact,
  type TransactionOf,
} from '@millrace/protocol';
import { type NamedCore, readCore } from '@millrace/vault';
import { type Documents, documentsOf, prove, requireFact, unfit } from './documents.ts';

/** Whom the verifier knows by other ways than the certificate; one of them at least. */
export interface Trusted {
  /** The owner's secp256k1 key, 33 bytes. */
  readonly owner?: Bytes | undefined;
  /** The key of the installation's administrator, 33 bytes, who registers owners, machines and the permit key. */
  readonly authority?: Bytes | undefined;
}

export interface ProvenLicence {
  readonly terms: TransactionOf<'licence.grant'>;
  readonly owner: Bytes;
  /** What the owner commits to: every byte of the design, and the MAC of what a machine has executed of it. */
  readonly core: NamedCore;
  /** The owner's name in the registration; by the administrator's word only when there is an authority. */
  readonly ownerName: string;
  /** The owner's words after restored backups: from such an entry on, objects up to a number count as made. */
  readonly left: readonly { readonly index: number; readonly floor: number }[];
  /** Where the licence stood from such an entry on, by the owner's statements. */
  readonly statuses: readonly { readonly index: number; readonly status: LicenceStatus }[];
}

/** The licence, signed by the owner: whom the verifier named, or whom the administrator has registered. */
export async function proveLicence(
  account: CertifiedAccount,
  trusted: Trusted,
  documents: Documents,
): Promise<ProvenLicence> {
  const [granted, ...later] = account.events;
  if (granted === undefined) throw unfit(`${account.account} has no event`);
  const licence = await prove(granted, async () => {
    const names = ['licence.grant', 'owner’s credential', 'design core'];
    const [grant, registration, committed] = documentsOf(granted, names) as [Bytes, Bytes, Bytes];
    const { publicKey, name } =
      trusted.authority === undefined
        ? readCredential(registration)
        : await documents.owner(registration, trusted.authority);
    const owner = trusted.owner ?? copyBytes(publicKey);
    if (!equalBytes(owner, publicKey)) throw unfit('the registration is of somebody else than its owner');
    const terms = await documents.transaction(grant, owner, 'licence.grant');
    requireFact(granted, licenceFact(terms, keyName(owner)));
    const core = readCore(committed);
    if (core.designId !== terms.design || !equalBytes(core.coreHash, terms.core) || !equalBytes(core.owner, owner))
      throw unfit('the core is not of the design that the owner has licensed');
    return { terms, owner, core, ownerName: name };
  });
  const left: { index: number; floor: number }[] = [];
  const statuses: { index: number; status: LicenceStatus }[] = [];
  for (const logged of later) {
    const { index } = logged;
    const word = await prove(logged, () => proveStatement(logged, licence, documents));
    if (word.type === 'licence.resume') left.push({ index, floor: licence.terms.objects - word.objects });
    else statuses.push({ index, status: statusAfter(statuses.at(-1)?.status ?? activeLicence, word) });
  }
  return { ...licence, left, statuses };
}

const statementTypes = ['licence.resume', 'licence.suspend', 'licence.reinstate', 'licence.revoke'] as const;

/** What the owner has signed on a licence after granting it. */
async function proveStatement(
  logged: LoggedEvent,
  { terms, owner }: Pick<ProvenLicence, 'terms' | 'owner'>,
  documents: Documents,
) {
  if (logged.event.type !== 'inspected') return refuse(logged);
  const [document] = documentsOf(logged, ['the owner’s statement']) as [Bytes];
  const claimed = statementTypes.find((type) => type === readTransaction(document).type);
  if (claimed === undefined) throw unfit('no statement on a licence');
  const word = await documents.transaction(document, owner, claimed);
  if (word.licence !== toHex(terms.id)) throw unfit('it is of another licence');
  if (isLicenceStatement(word)) requireFact(logged, statusFact(word, keyName(owner)));
  else {
    if (word.objects > terms.objects) throw unfit(`the licence allows ${terms.objects} objects`);
    requireFact(logged, leftFact(word, keyName(owner)));
  }
  return word;
}

/** A machine as the licence names it, with the entry of the log that registered it so. */
export interface ProvenMachine {
  readonly machine: Machine;
  readonly index: number;
}

/**
 * The registrations of the object's machine. The owner has signed the hash of the one that counts; the administrator's
 * signature is checked on all of them when the verifier knows it.
 */
export async function proveMachine(
  account: CertifiedAccount,
  { terms }: ProvenLicence,
  trusted: Trusted,
  documents: Documents,
): Promise<ProvenMachine> {
  let found: ProvenMachine | undefined;
  for (const logged of account.events) {
    const registered = await prove(logged, async () => {
      if (logged.event.type !== 'machine') return refuse(logged);
      const [document] = documentsOf(logged, ['machine.register']) as [Bytes];
      const body =
        trusted.authority === undefined
          ? readRegistration(document)
          : await documents.transaction(document, trusted.authority, 'machine.register');
      requireFact(logged, machineFact(body, toHex(parseSign1(document).keyId)));
      if (keyName(body.machine.publicKey) !== body.machine.machine)
        throw unfit('the machine is not named after its key');
      return body.machine;
    });
    const named = terms.machines.find(({ machine }) => machine === registered.machine);
    if (named !== undefined && equalBytes(named.registration, registrationHash(registered)))
      found = { machine: registered, index: logged.index };
  }
  if (found === undefined) throw unfit(`the licence does not name ${account.account} as it is registered`);
  return found;
}

/** Types that no document stands behind would be the log's word alone. */
export function refuse({ event }: LoggedEvent): never {
  throw unfit(`no document is known that could stand behind a '${event.type}' here`);
}

/** A registration whose signer nobody vouches for: what counts of it is compared with what the owner signed. */
function readRegistration(bytes: Uint8Array): TransactionOf<'machine.register'> {
  const body = readTransaction(bytes);
  if (body.type !== 'machine.register') throw unfit(`it is a ${body.type}, not a machine.register`);
  return body;
}
