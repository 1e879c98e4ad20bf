import { type Bytes, copyBytes, encodeCbor, equalBytes, MillraceError, toHex } from '@millrace/base';
import { keyId } from '@millrace/identity';
import type { LoggedEvent } from '@millrace/ledger';
import {
  credentialDocuments,
  type LedgerFact,
  type MachineDocument,
  type Permit,
  readTransaction,
  requireRole,
  type Transaction,
  type TransactionOf,
  verifyCredential,
  verifyMachineDocument,
  verifyPermit,
  verifyTransaction,
} from '@millrace/protocol';

type MachineDocumentOf<T extends MachineDocument['type']> = Extract<MachineDocument, { type: T }>;

/**
 * Opens signed documents of one installation with keys that the verifier obtained elsewhere: a key that comes with the
 * signature proves nothing. Counts the verified documents, and accepts each document once.
 */
export class Documents {
  readonly #installation: string;
  readonly #taken = new Set<string>();

  constructor(installation: string) {
    this.#installation = installation;
  }

  get verified(): number {
    return this.#taken.size;
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_REPLAY */
  async transaction<T extends Transaction['type']>(bytes: Uint8Array, key: Bytes, type: T): Promise<TransactionOf<T>> {
    const { body } = await verifyTransaction(bytes, this.#installation, only(key), 'any time');
    if (body.type !== type) throw new MillraceError('E_INPUT', `it is a ${body.type}, not a ${type}`);
    return this.#once(body as TransactionOf<T>);
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_REPLAY */
  async ofMachine<T extends MachineDocument['type']>(
    bytes: Uint8Array,
    key: Bytes,
    type: T,
  ): Promise<MachineDocumentOf<T>> {
    const { body } = await verifyMachineDocument(bytes, this.#installation, only(key), 'any time');
    if (body.type !== type) throw new MillraceError('E_INPUT', `it is a ${body.type}, not a ${type}`);
    return this.#once(body as MachineDocumentOf<T>);
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_PERMIT, E_REPLAY */
  async permit(bytes: Uint8Array, key: Bytes): Promise<Permit> {
    return this.#once((await verifyPermit(bytes, this.#installation, only(key), 'any time')).body);
  }

  /**
   * Every permit depends on the administrator's registration of the permit key.
   * @throws {MillraceError} as `transaction`
   */
  async permitKey(bytes: Uint8Array, authority: Bytes): Promise<TransactionOf<'permit-key.register'>> {
    const { body } = await verifyTransaction(bytes, this.#installation, only(authority), 'any time');
    if (body.type !== 'permit-key.register') throw new MillraceError('E_INPUT', `it is a ${body.type}`);
    this.#taken.add(nameOf(body));
    return body;
  }

  /** The key that owns the design, and its holder. @throws {MillraceError} as `transaction`, E_FORBIDDEN */
  async owner(credential: Uint8Array, authority: Bytes): Promise<{ readonly publicKey: Bytes; readonly name: string }> {
    const documents = credentialDocuments(credential);
    const owner = await verifyCredential(credential, { installation: this.#installation, adminKey: toHex(authority) });
    requireRole(owner, 'designer');
    for (const document of documents) this.#taken.add(nameOf(readTransaction(document)));
    return owner;
  }

  #once<T extends { readonly type: string; readonly id: Uint8Array }>(body: T): T {
    const name = nameOf(body);
    if (this.#taken.has(name)) throw new MillraceError('E_REPLAY', `the same ${body.type} stands behind two events`);
    this.#taken.add(name);
    return body;
  }
}

const nameOf = ({ type, id }: { readonly type: string; readonly id: Uint8Array }) => `${type}/${toHex(id)}`;

const only = (key: Bytes) => (id: Bytes) => (equalBytes(id, keyId(key)) ? copyBytes(key) : undefined);

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
