import { type Bytes, copyBytes, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type CertifiedAccount, type LoggedEvent, linkOf } from '@millrace/ledger';
import { licenceOf, objectId, objectName, ownerParty, type Party, sameParty } from '@millrace/protocol';
import { readCore } from '@millrace/vault';
import { Documents, prove, type Trusted, unfit } from './certificate/documents.ts';
import { proveLicence } from './certificate/licence.ts';
import { proveObject } from './certificate/object.ts';

/** Objects beyond the highest ordered one, and beyond the licence's number, that are listed as not ordered. */
const NEXT = 100;
const BEYOND = 10;

/**
 * Collects from a whole log the objects that were ordered under one owner's licences, and verifies the documents behind
 * each. So the owner detects an object without an order, and an order that was used twice.
 */
export class OwnObjects {
  readonly #party: Party;
  readonly #side: 'granted' | 'held';
  readonly #trusted: Trusted;
  readonly #installation: string;
  readonly #licences = new Map<string, LoggedEvent[]>();
  readonly #objects = new Map<string, LoggedEvent[]>();
  /** Events of all machines. A machine has few, and the machine that an object names is known only later. */
  readonly #machines = new Map<string, LoggedEvent[]>();

  /**
   * @param party the organisation, or the key alone, whose licences are audited
   * @param side licences that the party granted, or all others that control opens for it because it holds them. The
   *   administrator attests the owners of the latter
   */
  constructor(installation: string, party: Party, authority: Bytes, side: 'granted' | 'held' = 'granted') {
    this.#installation = installation;
    this.#party = party;
    this.#side = side;
    if (side === 'held') this.#trusted = { authority };
    else this.#trusted = 'key' in party ? { owner: copyBytes(party.key), authority } : { ...party, authority };
  }

  /** Adds an entry of the log. Entries must be added in order. */
  take(logged: LoggedEvent): void {
    const { account, type, sequence, body } = logged.event;
    const licence = linkOf(body, 'licence');
    if (sequence === 0) {
      if (type === 'licensed' && this.#isGranted(logged) === (this.#side === 'granted'))
        this.#licences.set(account, []);
      if (type === 'ordered' && licence !== undefined && this.#licences.has(licence)) this.#objects.set(account, []);
      if (type === 'machine') this.#machines.set(account, []);
    }
    const events = this.#objects.get(account) ?? this.#licences.get(account) ?? this.#machines.get(account);
    events?.push(logged);
  }

  #isGranted({ event }: LoggedEvent): boolean {
    if ('key' in this.#party) return event.actor === keyName(this.#party.key);
    const core = event.evidence?.[2];
    return core !== undefined && sameParty(ownerParty(readCore(core)), this.#party);
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

  /**
   * Verifies the documents of every licence, also of one without objects.
   * @throws {MillraceError} E_EVIDENCE for the first invalid licence
   */
  async verifyLicences(): Promise<void> {
    for (const [account, events] of this.#licences)
      await proveLicence({ account, events }, this.#trusted, new Documents(this.#installation));
  }

  /**
   * Names of the licences' objects that nobody has ordered, as far as control has opened the log: the numbers below the
   * highest ordered one, the next 100 of the licence, and 10 beyond those that it allows.
   */
  *notOrdered(): Generator<string> {
    const highest = new Map<string, number>();
    for (const object of this.#objects.keys()) {
      const licence = licenceOf(object);
      const number = Number(object.slice(licence.length + 1));
      highest.set(licence, Math.max(number, highest.get(licence) ?? 0));
    }
    for (const [account, events] of this.#licences) {
      const licence = account.slice(account.indexOf(':') + 1);
      const granted = events[0]?.event.body.objects;
      const credits = events.filter(({ event }) => event.type === 'credited').length;
      const allowed = typeof granted === 'number' ? granted + credits : 0;
      const ordered = highest.get(licence) ?? 0;
      const last = Math.max(allowed, ordered);
      const numbers = [...range(1, Math.min(last, ordered + NEXT)), ...range(last + 1, last + BEYOND)];
      for (const number of numbers) {
        const object = objectId(licence, number);
        if (!this.#objects.has(object) && objectName.safeParse(object).success) yield object;
      }
    }
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

/** The integers from `first` to `last`. */
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
