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

/** Keys that the verifier obtained elsewhere, not from the certificate. At least one is required. */
export interface Trusted {
  /** The owner's secp256k1 key, 33 bytes. */
  readonly owner?: Bytes | undefined;
  /** The key of the installation's administrator, 33 bytes. It registers owners, machines and the permit key. */
  readonly authority?: Bytes | undefined;
}

export interface ProvenLicence {
  readonly terms: TransactionOf<'licence.grant'>;
  readonly owner: Bytes;
  /** The owner's commitment: to every byte of the design, and to the MAC of what a machine executed of it. */
  readonly core: NamedCore;
  /** The owner's name in the registration. Attested by the administrator only if an authority is given. */
  readonly ownerName: string;
  /** The owner's statements after restored backups: from entry `index` on, objects up to `floor` count as made. */
  readonly left: readonly { readonly index: number; readonly floor: number }[];
  /** Changes of the licence's status by the owner's statements: `status` applies from entry `index` on. */
  readonly statuses: readonly { readonly index: number; readonly status: LicenceStatus }[];
}

/** Verifies the licence, signed by the owner: the one that the verifier named, or that the administrator registered. */
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

/** Verifies the owner's later statements on a licence. */
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

/** A machine as the licence names it, with the log entry of that registration. */
export interface ProvenMachine {
  readonly machine: Machine;
  readonly index: number;
}

/**
 * Verifies the registrations of the object's machine. The owner has signed the hash of the relevant one. If the
 * verifier knows the administrator's key, its signature is checked on all of them.
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

/** Rejects an event without documents: only the log attests it. */
export function refuse({ event }: LoggedEvent): never {
  throw unfit(`no document is known that could stand behind a '${event.type}' here`);
}

/** Reads a registration without a trusted signer. The relevant fields are compared with what the owner signed. */
function readRegistration(bytes: Uint8Array): TransactionOf<'machine.register'> {
  const body = readTransaction(bytes);
  if (body.type !== 'machine.register') throw unfit(`it is a ${body.type}, not a machine.register`);
  return body;
}
