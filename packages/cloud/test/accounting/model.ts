// The rules of licence accounting, written down a second time: one licence, two machines, two possible holders. It uses
// nothing of the code that it is compared with.

export type Holder = 'holder' | 'other';
export type MachineName = 'first' | 'second';
export type End = 'completed' | 'failed';

export interface MadeObject {
  readonly print: string;
  readonly machine: MachineName;
  readonly holder: Holder;
  readonly facts: string[];
  end?: End;
  case?: 'open' | 'denied' | 'credited';
  /** Credited by the licence's policy. */
  byPolicy?: true;
}

export interface Waiting {
  readonly print: string;
  readonly machine: MachineName;
  readonly holder: Holder;
}

interface Terms {
  readonly objects: number;
  /** The licence credits by itself at most so many objects that the first machine failed before this line. */
  readonly below: number;
  readonly most: number;
}

/** The licence as its parties must see it. Methods return `done`, or the code of the refusal. */
export class LicenceModel {
  /** Objects that count as permitted without being in `made`: numbers up to this one were lost with control's disk. */
  floor = 0;
  readonly made = new Map<number, MadeObject>();
  queue: Waiting[] = [];
  holder: Holder = 'holder';
  transfers = 0;
  extended = false;
  suspended = false;
  revoked: 'finish' | 'stop' | undefined;
  /** A backup of control was restored, and the owner has not said yet how many objects are left. */
  restored = false;
  /** Objects up to this number were permitted by the newest backup that was restored. */
  inBackup = 0;
  /** Facts in the licence's account of the ledger. */
  facts = ['licensed'];
  readonly #terms: Terms;

  constructor(terms: Terms) {
    this.#terms = terms;
  }

  copy(): LicenceModel {
    const copy = Object.assign(new LicenceModel(this.#terms), this);
    const made = new Map([...this.made].map(([number, object]) => [number, { ...object, facts: [...object.facts] }]));
    return Object.assign(copy, { made, queue: [...this.queue], facts: [...this.facts] });
  }

  get credits(): number {
    return [...this.made.values()].filter((object) => object.case === 'credited').length;
  }

  get allowed(): number {
    return this.#terms.objects + this.credits;
  }

  get used(): number {
    return Math.max(this.floor, ...this.made.keys());
  }

  order({ print, machine, holder }: Waiting): string {
    if (holder !== this.holder) return 'E_FORBIDDEN';
    if (this.revoked !== undefined) return 'E_LICENCE_REVOKED';
    if (this.suspended || this.restored) return 'E_LICENCE_SUSPENDED';
    if (machine === 'second' && !this.extended) return 'E_LICENCE_INVALID';
    if (this.used + this.queue.length >= this.allowed) return 'E_LICENCE_EXHAUSTED';
    this.queue.push({ print, machine, holder });
    return 'done';
  }

  /** A machine asks for a print that waits for it. Prints that cannot be permitted have left the queue. */
  permit({ print, machine, holder }: Waiting): number {
    const number = this.used + 1;
    this.queue = this.queue.filter((waiting) => waiting.print !== print);
    this.made.set(number, { print, machine, holder, facts: ['ordered', 'permitted'] });
    return number;
  }

  resume(number: number): string {
    const object = this.made.get(number);
    if (this.revoked === 'stop') return 'E_LICENCE_REVOKED';
    if (this.restored) return 'E_LICENCE_SUSPENDED';
    if (object?.end !== undefined) return 'E_STATE';
    object?.facts.push('resumed');
    return 'done';
  }

  /** @param lines executed lines, if the machine states them */
  report(number: number, end: End, lines?: number): string {
    const object = this.#object(number);
    object.end = end;
    object.facts.push(end);
    const { below, most } = this.#terms;
    const byPolicy = [...this.made.values()].filter((each) => each.byPolicy).length;
    if (end !== 'failed' || lines === undefined || lines >= below || byPolicy >= most) return 'done';
    // The owner has added the second machine later.
    if (object.machine === 'second') return 'done';
    object.case = 'credited';
    object.byPolicy = true;
    object.facts.push('credited');
    this.facts.push('failed early');
    this.#credit(number);
    return 'done';
  }

  openCase(number: number, by: Holder): string {
    const object = this.#object(number);
    if (by !== object.holder) return 'E_FORBIDDEN';
    if (object.end === undefined) return 'E_STATE';
    if (object.case !== undefined) return 'E_CONFLICT';
    object.case = 'open';
    object.facts.push('failure reported');
    return 'done';
  }

  decide(number: number, credit: boolean): string {
    const object = this.#object(number);
    if (object.case === undefined) return 'E_NOT_FOUND';
    if (object.case !== 'open') return 'E_STATE';
    object.case = credit ? 'credited' : 'denied';
    object.facts.push(credit ? 'credited' : 'credit denied');
    if (credit) {
      this.facts.push('credited');
      this.#credit(number);
    }
    return 'done';
  }

  extend(): string {
    if (this.revoked !== undefined) return 'E_LICENCE_REVOKED';
    this.extended = true;
    this.facts.push('extended');
    return 'done';
  }

  transfer(from: Holder): string {
    if (from !== this.holder) return 'E_FORBIDDEN';
    if (this.revoked !== undefined) return 'E_LICENCE_REVOKED';
    this.holder = other(from);
    this.transfers++;
    this.queue = [];
    this.facts.push('transferred');
    return 'done';
  }

  suspend(): string {
    if (this.revoked !== undefined) return 'E_LICENCE_REVOKED';
    if (this.suspended) return 'E_STATE';
    this.suspended = true;
    this.queue = [];
    this.facts.push('suspended');
    return 'done';
  }

  reinstate(): string {
    if (this.revoked !== undefined) return 'E_LICENCE_REVOKED';
    if (!this.suspended) return 'E_STATE';
    this.suspended = false;
    this.facts.push('reinstated');
    return 'done';
  }

  revoke(stop: boolean): string {
    if (this.revoked === 'stop' || (this.revoked === 'finish' && !stop)) return 'E_STATE';
    this.revoked = stop ? 'stop' : 'finish';
    this.queue = [];
    this.facts.push('revoked');
    return 'done';
  }

  /** Control's disk was replaced by an older one: licences with objects left wait for their owner. */
  restore(): void {
    this.inBackup = this.used;
    this.restored = this.used < this.allowed;
    if (this.restored) this.queue = [];
  }

  /** The owner states how many objects are left. */
  state(left: number): string {
    if (!this.restored) return 'E_STATE';
    if (left > this.allowed - this.used) return 'E_INPUT';
    this.restored = false;
    this.floor = this.allowed - left;
    this.facts.push('resumed');
    return 'done';
  }

  /** The credit may repeat one that was lost with control's disk, with the object that it allows. */
  #credit(number: number): void {
    if (number > this.inBackup) return;
    this.restored = true;
    this.queue = [];
  }

  #object(number: number): MadeObject {
    const object = this.made.get(number);
    if (object === undefined) throw new Error(`the model has no object ${number}`);
    return object;
  }
}

export const other = (holder: Holder): Holder => (holder === 'holder' ? 'other' : 'holder');
