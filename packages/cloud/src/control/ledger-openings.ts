import type { Page, PageQuery } from '@millrace/api';
import { MillraceError, mapAhead, toBase64 } from '@millrace/base';
import type { LoggedEvent } from '@millrace/ledger';
import type { Actor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { mayRead, readableAccounts } from './readable-accounts.ts';

/** Maximum entries examined for one request. */
const MAX_ENTRIES = 2_048;
/** Size of the openings in one answer, bytes. One opening may exceed it. */
const MAX_BYTES = 1_048_576;
/** Reads in flight: in Cassandra, each takes some milliseconds. */
const READS = 32;
/** Number of lists that are kept, and how long, ms. */
const KEPT = 16;
const KEPT_MS = 60_000;

/** The entries that an actor may read. */
interface Readable {
  /** Indices in the log, ascending. */
  readonly indices: readonly number[];
  /** Number of entries of the log that the list covers. */
  readonly size: number;
  /** Time at which it was made. */
  readonly at: number;
}

/** Lists of readable entries, kept for the next page of the same caller. */
export class ReadableLists {
  readonly #kept = new Map<string, Readable>();

  /** The list for a page from `start` on. The first page makes a new list. */
  async from(start: number, context: ControlContext, actor: Actor): Promise<Readable> {
    const key = JSON.stringify(actor);
    const kept = this.#kept.get(key);
    const fresh = kept !== undefined && Math.abs(context.clock.now() - kept.at) < KEPT_MS;
    if (fresh && start > 0 && start < kept.size) return kept;
    const made = await listReadable(context, actor);
    this.#kept.delete(key);
    this.#kept.set(key, made);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT && oldest !== undefined) this.#kept.delete(oldest);
    return made;
  }
}

/** Merges the accounts that the actor may read. Reads no entry. */
async function listReadable(context: ControlContext, actor: Actor): Promise<Readable> {
  const { ledger, clock } = context;
  const { size } = ledger;
  const at = clock.now();
  const indices: number[] = [];
  const accounts = readableAccounts(context, actor);
  for await (const list of mapAhead(accounts, READS, (account) => ledger.indices(account)))
    for (const index of list) if (index < size) indices.push(index);
  return { indices: indices.sort((a, b) => a - b), size, at };
}

/**
 * Openings of the entries that the actor may read, in the order of the log. The cursor is the index of the next entry.
 * What the actor may no longer read is left out at once. What it may read since the list was made can be missing for a
 * minute, except from a list that begins at 0.
 * @param lists keeps the list for the next page
 */
export async function openingsPage(
  context: ControlContext,
  actor: Actor,
  { limit, cursor = '0' }: PageQuery,
  lists = new ReadableLists(),
): Promise<Page<{ index: number; opening: string }>> {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(cursor)) throw new MillraceError('E_INPUT', 'cursor: not an index of the log');
  const { ledger } = context;
  const start = Number(cursor);
  const { size } = ledger;
  // The few entries at the end are read faster than a list is made.
  const list = size - start <= limit ? undefined : await lists.from(start, context, actor);
  const end = list?.size ?? size;
  const readable = new Map<string, Promise<boolean>>();
  const isReadable = (account: string) => {
    const asked = readable.get(account) ?? ledger.head(account).then((head) => mayRead(context, actor, head));
    readable.set(account, asked);
    return asked;
  };
  const check = async (entry: LoggedEvent) => ({ ...entry, known: await isReadable(entry.event.account) });
  const read =
    list === undefined
      ? mapAhead(ledger.events(start), READS, check)
      : readFrom(start, list, limit, async (index) => check(await ledger.entry(index)));
  const items: { index: number; opening: string }[] = [];
  let next = end;
  let bytes = 0;
  let examined = 0;
  for await (const { index, opening, known } of read) {
    if (index >= end) break;
    examined += 1;
    if (known) {
      items.push({ index, opening: toBase64(opening) });
      bytes += opening.length;
    }
    if (items.length < limit && bytes < MAX_BYTES && examined < MAX_ENTRIES) continue;
    next = index + 1;
    break;
  }
  return next < size ? { items, next: String(next) } : { items };
}

/** Reads `limit` entries ahead and, only if they are not enough, further ones. */
async function* readFrom<T>(
  start: number,
  { indices }: Readable,
  limit: number,
  read: (index: number) => Promise<T>,
): AsyncGenerator<T> {
  for (let i = firstAtLeast(start, indices); i < indices.length; i += limit)
    yield* mapAhead(indices.slice(i, i + limit), READS, read);
}

/** Position of the first number in ascending `numbers` that is at least `least`. */
function firstAtLeast(least: number, numbers: readonly number[]): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] ?? 0) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}
