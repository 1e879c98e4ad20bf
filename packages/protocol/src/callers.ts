import { MillraceError, sleep, within } from '@millrace/base';
import type { Address } from './directory.ts';

/** How long a call is repeated while every node is on standby, ms: one becomes active within seconds. */
const STANDBY_MS = 20_000;
const ROUND_MS = 250;
/** A call without an answer for this time makes the client ask whether another node is active, ms. */
const SUSPECT_MS = 3_000;
/** A node that did not answer this either is asked again after this time, ms; of several, it has as long to answer. */
const AGAIN_MS = 250;

/** One of several addresses: the one that worked last. */
export class Choice {
  readonly #list: () => readonly Address[];
  readonly #first: number;
  #current: Address | undefined;

  /**
   * @param list at least one address, read when needed
   * @param first where it begins, 0 ≤ n < 1: a random number spreads callers over the nodes
   */
  constructor(list: () => readonly Address[], first = 0) {
    this.#list = list;
    this.#first = first;
  }

  /** @throws {MillraceError} E_CONFIG if no address is known */
  get current(): Address {
    const list = this.#list();
    const kept = this.#known() ?? list[Math.floor(this.#first * list.length)];
    if (kept === undefined) throw new MillraceError('E_CONFIG', 'no address of the node is known');
    return kept;
  }

  get count(): number {
    return this.#list().length;
  }

  all(): readonly Address[] {
    return this.#list();
  }

  use(address: Address): void {
    this.#current = address;
  }

  /** Turns to the address after the one that was used last. @returns it */
  next(): Address {
    if (this.#known() === undefined) this.#current = this.current;
    else this.leave(this.current);
    return this.current;
  }

  /** Turns to the address after this one, which has failed, unless another call has already done so. */
  leave(failed: Address): void {
    if (!isSame(this.current, failed)) return;
    const list = this.#list();
    const at = list.findIndex((address) => isSame(address, failed));
    this.#current = list[(at + 1) % list.length];
  }

  /** The address that was used last, if it still is one. */
  #known(): Address | undefined {
    return this.#list().find((address) => isSame(address, this.#current));
  }
}

/** @param give aborted when the node counts as frozen */
export type CallOnce<T> = (address: Address, give?: AbortSignal) => Promise<T>;

/**
 * Calls one of several nodes. After an answer that says that nothing was done (the connection was refused, or the node
 * is on standby), the next address is tried. After another failure, the next call tries the next address.
 * A process that is frozen takes connections and answers none: while a call waits long, its node is asked whether it is
 * active. If it does not answer, the others are asked until one is active, and the call ends with E_UNAVAILABLE.
 * If there are no others here because the caller chooses between them, the call ends after the second question that is
 * not answered.
 */
export class Callers {
  readonly #choice: Choice;
  readonly #isActive: (address: Address) => Promise<boolean>;
  readonly #leaves: () => boolean;
  readonly #waiting = new Set<{ readonly address: Address; readonly since: number; readonly give: AbortController }>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param isActive whether the node at an address says that it is the active one; with `leaves`, whether it answers
   * @param leaves whether calls leave a frozen node also if no other one is known here
   */
  constructor(list: () => readonly Address[], isActive: (address: Address) => Promise<boolean>, leaves = () => false) {
    this.#choice = new Choice(list);
    this.#isActive = isActive;
    this.#leaves = leaves;
  }

  async call<T>(once: CallOnce<T>, signal?: AbortSignal): Promise<T> {
    const deadline = performance.now() + STANDBY_MS;
    for (let round = 1, standby = false; ; round++) {
      const address = this.#choice.current;
      try {
        return await this.#once(once, address);
      } catch (error) {
        if (signal?.aborted || !(error instanceof MillraceError) || !isUnreached(error)) throw error;
        this.#choice.leave(address);
        if (!didNothing(error)) throw error;
        standby ||= error.code === 'E_STANDBY';
        if (round % this.#choice.count !== 0) continue;
        // Every address was tried.
        if (!standby || performance.now() >= deadline) throw error;
        standby = false;
        await sleep(ROUND_MS, signal);
      }
    }
  }

  close(): void {
    this.#stopLooking();
  }

  async #once<T>(once: CallOnce<T>, address: Address): Promise<T> {
    if (this.#choice.count < 2 && !this.#leaves()) return once(address);
    const call = { address, since: performance.now(), give: new AbortController() };
    this.#waiting.add(call);
    if (this.#timer === undefined) this.#lookIn(SUSPECT_MS, false);
    try {
      return await once(address, call.give.signal);
    } finally {
      this.#waiting.delete(call);
      if (this.#waiting.size === 0) this.#stopLooking();
    }
  }

  #stopLooking(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** @param suspected whether the node that is called did not answer when it was asked last */
  #lookIn(ms: number, suspected: boolean): void {
    const timer = setTimeout(async () => {
      const silent = await this.#look(suspected).catch(() => false);
      if (this.#timer === timer) this.#lookIn(silent ? AGAIN_MS : this.#untilOld(), silent);
    }, ms).unref();
    this.#timer = timer;
  }

  /** Time until the next call has waited for long, ms. */
  #untilOld(): number {
    const now = performance.now();
    const ages = [...this.#waiting].map(({ since }) => now - since).filter((age) => age < SUSPECT_MS);
    return SUSPECT_MS - Math.max(0, ...ages);
  }

  /**
   * Gives up the calls that wait at a frozen node, if another one is active or the caller knows others.
   * @returns whether a node does not answer, and no other is active yet
   */
  async #look(suspected: boolean): Promise<boolean> {
    const now = performance.now();
    const all = this.#choice.all();
    const leaves = this.#leaves();
    const isActive = (address: Address) => this.#isActive(address).catch(() => false);
    const old = [...this.#waiting].filter(({ since }) => now - since >= SUSPECT_MS);
    const places = all.filter((address) => old.some((call) => isSame(call.address, address)));
    // A node that answers is slow, not frozen.
    const answers = await Promise.all(
      places.map((address) => (suspected && !leaves ? within(isActive(address), AGAIN_MS) : isActive(address))),
    );
    const frozen = places.filter((_, i) => answers[i] !== true);
    const isFrozen = (address: Address) => frozen.some((each) => isSame(each, address));
    if (frozen.length === 0) return false;
    const others = all.filter((address) => !isFrozen(address));
    const found = await Promise.all(others.map(async (address) => ((await isActive(address)) ? address : undefined)));
    const active = found.find((address) => address !== undefined);
    if (active === undefined && !(suspected && leaves)) return true;
    if (active !== undefined && isFrozen(this.#choice.current)) this.#choice.use(active);
    const error = new MillraceError('E_UNAVAILABLE', active ? 'another node is active now; ask again' : 'no answer');
    for (const call of this.#waiting) if (isFrozen(call.address)) call.give.abort(error);
    return false;
  }
}

function isSame(one: Address, other: Address | undefined): boolean {
  return one.host === other?.host && one.port === other.port;
}

/** Whether the next call should try another address. */
function isUnreached({ code }: MillraceError): boolean {
  return code === 'E_STANDBY' || code === 'E_UNAVAILABLE' || code === 'E_TIMEOUT';
}

/** Whether the node has certainly not begun to serve the call. */
function didNothing({ code, cause }: MillraceError): boolean {
  if (code === 'E_STANDBY') return true;
  const syscall = cause instanceof Error && 'syscall' in cause ? cause.syscall : undefined;
  return code === 'E_UNAVAILABLE' && (syscall === 'connect' || syscall === 'getaddrinfo');
}
