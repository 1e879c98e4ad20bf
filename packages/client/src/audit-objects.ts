import { MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type CertifiedAccount, type LoggedEvent, linkOf } from '@millrace/ledger';
import { Documents, prove, unfit } from './certificate/documents.ts';
import type { Trusted } from './certificate/licence.ts';
import { proveObject } from './certificate/object.ts';

/**
 * Collects from a whole log the objects that were ordered under one owner's licences, and verifies the documents behind
 * each. So the owner detects an object without an order, and an order that was used twice.
 */
export class OwnObjects {
  readonly #owner: string;
  readonly #trusted: Trusted;
  readonly #installation: string;
  readonly #licences = new Map<string, LoggedEvent[]>();
  readonly #objects = new Map<string, LoggedEvent[]>();
  /** Events of all machines. A machine has few, and the machine that an object names is known only later. */
  readonly #machines = new Map<string, LoggedEvent[]>();

  constructor(installation: string, trusted: Trusted & { readonly owner: Uint8Array }) {
    this.#installation = installation;
    this.#trusted = trusted;
    this.#owner = keyName(trusted.owner);
  }

  /** Adds an entry of the log. Entries must be added in order. */
  take(logged: LoggedEvent): void {
    const { account, type, sequence, actor, body } = logged.event;
    const licence = linkOf(body, 'licence');
    if (sequence === 0) {
      if (type === 'licensed' && actor === this.#owner) this.#licences.set(account, []);
      if (type === 'ordered' && licence !== undefined && this.#licences.has(licence)) this.#objects.set(account, []);
      if (type === 'machine') this.#machines.set(account, []);
    }
    const events = this.#objects.get(account) ?? this.#licences.get(account) ?? this.#machines.get(account);
    events?.push(logged);
  }

  /**
   * @returns the number of verified objects
   * @throws {MillraceError} E_EVIDENCE, E_CERTIFICATE for the first invalid object
   */
  async verify(): Promise<number> {
    const orders = new Map<string, string>();
    for (const [object, events] of this.#objects) {
      const [licences, machines] = [this.#linked(events, 'licence'), this.#linked(events, 'machine')];
      const proven = await proveObject(
        { events, licences, machines },
        this.#trusted,
        new Documents(this.#installation),
      );
      const order = toHex(proven.print.id);
      const other = orders.get(order);
      const [ordered] = events;
      if (other !== undefined && ordered !== undefined)
        await prove(ordered, () => {
          throw unfit(`the same order was used for ${other}`);
        });
      orders.set(order, object);
    }
    return this.#objects.size;
  }

  #linked(events: readonly LoggedEvent[], kind: 'licence' | 'machine'): CertifiedAccount[] {
    const known = kind === 'licence' ? this.#licences : this.#machines;
    const named = new Set(events.flatMap(({ event }) => linkOf(event.body, kind) ?? []));
    return [...named].map((account) => {
      const chain = known.get(account);
      if (chain === undefined) throw new MillraceError('E_CERTIFICATE', `the log has no ${kind} ${account}`);
      return { account, events: chain };
    });
  }
}
