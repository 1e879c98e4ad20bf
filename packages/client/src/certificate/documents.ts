import { type Bytes, copyBytes, encodeCbor, equalBytes, MillraceError, toHex } from '@millrace/base';
import type { LoggedEvent } from '@millrace/ledger';
import {
  type Attested,
  CLOCK_SKEW_MS,
  type Credential,
  credentialDocuments,
  type GroupMember,
  type LedgerFact,
  type LoadedSpool,
  type Machine,
  type MachineDocument,
  type MachineMembership,
  onlyKey,
  type Party,
  type Permit,
  type PermitRequest,
  type PersonRole,
  readCredential,
  readTransaction,
  requireLicensed,
  requireMaterial,
  type Transaction,
  type TransactionOf,
  type Visa,
  type VisitingSpool,
  verifyCredential,
  verifyFor,
  verifyMachineDocument,
  verifyPermit,
  verifyTransaction,
  verifyVisa,
} from '@millrace/protocol';

/** Keys that the verifier obtained elsewhere, not from the certificate. At least one is required. */
export interface Trusted {
  /** The key that signed the licence, 33 bytes: the owner's, or that of a designer of the owner's organisation. */
  readonly owner?: Bytes | undefined;
  /** The organisation that owns the design. Only the administrator's key proves who acts for it. */
  readonly organisation?: string | undefined;
  /** The key of the installation's administrator, 33 bytes. It registers owners, machines and the permit key. */
  readonly authority?: Bytes | undefined;
}

/** Who signed a document. `member` is known only if the administrator's key was given. */
export type Signatory = Pick<Credential, 'publicKey' | 'name' | 'member'>;

type MachineDocumentOf<T extends MachineDocument['type']> = Extract<MachineDocument, { type: T }>;

/**
 * Opens signed documents of one installation with keys that the verifier obtained elsewhere: a key that comes with the
 * signature proves nothing. Counts the verified documents, and accepts each document once.
 */
export class Documents {
  readonly installation: string;
  readonly #taken: Set<string>;

  constructor(installation: string, taken = new Set<string>()) {
    this.installation = installation;
    this.#taken = taken;
  }

  /** Opens documents that were signed for another cloud. They count together with these. */
  ofCloud({ installation }: { readonly installation: string }): Documents {
    return new Documents(installation, this.#taken);
  }

  get verified(): number {
    return this.#taken.size;
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_REPLAY */
  async transaction<T extends Transaction['type']>(bytes: Uint8Array, key: Bytes, type: T): Promise<TransactionOf<T>> {
    const { body } = await verifyTransaction(bytes, this.installation, onlyKey(key), 'any time');
    if (body.type !== type) throw new MillraceError('E_INPUT', `it is a ${body.type}, not a ${type}`);
    return this.#once(body as TransactionOf<T>);
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_REPLAY */
  async ofMachine<T extends MachineDocument['type']>(
    bytes: Uint8Array,
    key: Bytes,
    type: T,
  ): Promise<MachineDocumentOf<T>> {
    const { body } = await verifyMachineDocument(bytes, this.installation, onlyKey(key), 'any time');
    if (body.type !== type) throw new MillraceError('E_INPUT', `it is a ${body.type}, not a ${type}`);
    return this.#once(body as MachineDocumentOf<T>);
  }

  /**
   * The spool that a request states, verified to the administrator. Several objects may be made of one spool, so its
   * documents may be used again.
   * @throws {MillraceError} E_MATERIAL
   */
  material(
    request: PermitRequest,
    machine: Machine,
    terms: TransactionOf<'licence.grant'>,
    {
      authority,
      ...options
    }: { readonly authority: Bytes; readonly begins: boolean; readonly visiting?: VisitingSpool | undefined },
  ): Promise<LoadedSpool | undefined> {
    const directory = { installation: this.installation, adminKey: toHex(authority) };
    // The machine's clock may be ahead of control's, which compared the dates.
    return requireMaterial(request, machine, terms, { directory, now: request.issued - CLOCK_SKEW_MS, ...options });
  }

  /**
   * Verifies that the licence is for the machine. Several objects may be made under one membership, so its documents may
   * be used again.
   * @returns the membership, if the licence needs one
   * @throws {MillraceError} as `requireLicensed`; E_EVIDENCE without the administrator's key, which proves a membership
   */
  async licensed(
    machine: Machine,
    terms: TransactionOf<'licence.grant'>,
    { cloud, membership }: { readonly cloud?: string | undefined; readonly membership?: MachineMembership | undefined },
    { authority }: Trusted,
  ): Promise<GroupMember | undefined> {
    if (membership !== undefined && authority === undefined)
      throw unfit('only the administrator’s key proves which machines are in a group, and you named none');
    const directory = { installation: this.installation, adminKey: toHex(authority ?? new Uint8Array()) };
    const member = await requireLicensed(machine, machine.machine, terms, { cloud, membership, directory });
    if (member !== undefined) for (const body of [member.group.body, member.assignment]) this.#taken.add(nameOf(body));
    return member;
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_PERMIT, E_REPLAY */
  async permit(bytes: Uint8Array, key: Bytes): Promise<Permit> {
    return this.#once((await verifyPermit(bytes, this.installation, onlyKey(key), 'any time')).body);
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_VISA, E_REPLAY */
  async visa(bytes: Uint8Array, key: Bytes): Promise<Visa> {
    return this.#once((await verifyVisa(bytes, this.installation, onlyKey(key), 'any time')).body);
  }

  /**
   * Every permit depends on the administrator's registration of the permit key.
   * @throws {MillraceError} as `transaction`
   */
  async permitKey(bytes: Uint8Array, authority: Bytes): Promise<TransactionOf<'permit-key.register'>> {
    const { body } = await verifyTransaction(bytes, this.installation, onlyKey(authority), 'any time');
    if (body.type !== 'permit-key.register') throw new MillraceError('E_INPUT', `it is a ${body.type}`);
    this.#taken.add(nameOf(body));
    return body;
  }

  /** Several machines may depend on one recognition. @throws {MillraceError} as `transaction` */
  async recognition(bytes: Uint8Array, authority: Bytes): Promise<TransactionOf<'cloud.recognise'>> {
    const { body } = await verifyTransaction(bytes, this.installation, onlyKey(authority), 'any time');
    if (body.type !== 'cloud.recognise') throw new MillraceError('E_INPUT', `it is a ${body.type}`);
    this.#taken.add(nameOf(body));
    return body;
  }

  /**
   * A user's document, signed for a party in a role. With the administrator's key, the signer's credential is verified.
   * Without it, only a key that the verifier named or the licence names can prove anything.
   * @throws {MillraceError} as `transaction`, E_FORBIDDEN, E_EXPIRED, E_EVIDENCE
   */
  async actedFor<T extends Transaction['type']>(
    { party, role, type }: { readonly party: Party; readonly role: PersonRole; readonly type: T },
    attested: Attested,
    { authority, owner }: Trusted,
  ): Promise<{ readonly body: TransactionOf<T>; readonly signatory: Signatory }> {
    const { transaction, credential } = attested;
    if (authority === undefined) {
      const key = role === 'designer' ? owner : 'key' in party ? party.key : undefined;
      if (key === undefined)
        throw unfit('only the administrator’s key proves who acts for an organisation, and you named none');
      if ('key' in party && !equalBytes(party.key, key)) throw unfit('the design is of another owner');
      const body = await this.transaction(transaction, copyBytes(key), type);
      const { publicKey, name } = readCredential(credential);
      if (!equalBytes(publicKey, key)) throw unfit('the credential is of somebody else than its signer');
      return { body, signatory: { publicKey, name } };
    }
    const directory = { installation: this.installation, adminKey: toHex(authority) };
    const { body, signatory } = await verifyFor(party, role, attested, directory);
    if (body.type !== type) throw new MillraceError('E_INPUT', `it is a ${body.type}, not a ${type}`);
    for (const document of credentialDocuments(credential)) this.#taken.add(nameOf(readTransaction(document)));
    return { body: this.#once(body as TransactionOf<T>), signatory };
  }

  /** Whom a credential names: verified with the administrator's key, and otherwise only what it says. */
  async signer(credential: Uint8Array, { authority }: Trusted): Promise<Signatory> {
    if (authority === undefined) return readCredential(credential);
    return verifyCredential(credential, { installation: this.installation, adminKey: toHex(authority) });
  }

  #once<T extends { readonly type: string; readonly id: Uint8Array }>(body: T): T {
    const name = nameOf(body);
    if (this.#taken.has(name)) throw new MillraceError('E_REPLAY', `the same ${body.type} stands behind two events`);
    this.#taken.add(name);
    return body;
  }
}

const nameOf = ({ type, id }: { readonly type: string; readonly id: Uint8Array }) => `${type}/${toHex(id)}`;

/** Runs one event's checks. @throws {MillraceError} E_EVIDENCE with the event, for any failure */
export async function prove<T>(logged: LoggedEvent, check: () => T | Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (cause) {
    if (!(cause instanceof MillraceError) || (cause.code === 'E_EVIDENCE' && 'index' in cause.data)) throw cause;
    const { index, event } = logged;
    throw new MillraceError('E_EVIDENCE', `entry ${index} ('${event.type}' of ${event.account}): ${cause.message}`, {
      data: { index, type: event.type, cause: cause.code },
      cause,
    });
  }
}

/** The error that `prove` wraps. */
export function unfit(why: string): MillraceError {
  return new MillraceError('E_EVIDENCE', why);
}

/** The documents behind an event. Their number must match the event's type. */
export function documentsOf({ event }: LoggedEvent, names: readonly string[]): Bytes[] {
  const evidence = event.evidence ?? [];
  if (evidence.length !== names.length)
    throw unfit(`${evidence.length} documents stand behind it, not ${names.length} (${names.join(', ')})`);
  return evidence.map(copyBytes);
}

/** Requires that the event states exactly what its documents state, and who signed them. */
export function requireFact({ event }: LoggedEvent, fact: LedgerFact): void {
  if (event.account !== fact.account) throw unfit(`its document is of ${fact.account}`);
  if (event.type !== fact.type) throw unfit(`its document says '${fact.type}'`);
  if (event.actor !== fact.actor) throw unfit('its actor is not the signer');
  if (!equalBytes(encodeCbor(event.body), encodeCbor(fact.body))) throw unfit('it says other things than its document');
}
