import type { Page, PageQuery } from '@millrace/api';
import { MillraceError, toBase64 } from '@millrace/base';
import type { LoggedEvent } from '@millrace/ledger';
import type { Actor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { mayRead, readableAccounts } from './readable-accounts.ts';

/** Maximum entries examined for one request. */
const MAX_ENTRIES = 2_048;
/** Size of the openings in one answer, bytes. One opening may exceed it. */
const MAX_BYTES = 1_048_576;
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
  for await (const account of readableAccounts(context, actor))
    for (const index of await ledger.indices(account)) if (index < size) indices.push(index);
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
  const entries = list === undefined ? ledger.events(start) : entriesFrom(start, context, list);
  const readable = new Map<string, boolean>();
  const items: { index: number; opening: string }[] = [];
  let next = end;
  let bytes = 0;
  let examined = 0;
  for await (const { index, event, opening } of entries) {
    if (index >= end) break;
    const { account } = event;
    const known = readable.get(account) ?? (await mayRead(context, actor, await ledger.head(account)));
    readable.set(account, known);
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

async function* entriesFrom(
  start: number,
  { ledger }: ControlContext,
  { indices }: Readable,
): AsyncGenerator<LoggedEvent> {
  for (let i = firstAtLeast(start, indices); i < indices.length; i++) yield await ledger.entry(indices[i] ?? 0);
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
