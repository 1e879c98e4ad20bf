import { createHash, type Hash } from 'node:crypto';
import { MillraceError, u32be, utf8 } from '@millrace/base';
import type { CellHead, Cells, Entry, Log, NewCell, RecordStore, Write } from '@millrace/stores';
import { copyMail, type Mail } from './copy-mail.ts';
import type { Tally } from './tally.ts';

/** Records of a page. */
const PAGE = 500;
/** Writes in flight, and cells held in memory. */
const TOGETHER = 64;
/** Limits of a batch of a log. */
const BATCH = 256;
const BATCH_BYTES = 1 << 20;

/** State of a node, on any engine. */
export interface NodeState {
  readonly records: RecordStore;
  /** Control. */
  readonly ledger?: Log;
  /** Control: the queue of the nodes' mail, which is the same in every ordered map. */
  readonly mail?: Log;
  /** Control, if one of the two states has its mail in Kafka. */
  readonly messages?: Mail;
  /** Keys. */
  readonly playbook?: Log;
  /** Segments. */
  readonly cells?: Cells;
}

export interface StateTally {
  readonly records: Tally;
  readonly ledger?: Tally;
  readonly mail?: Tally;
  readonly messages?: Tally;
  readonly playbook?: Tally;
  readonly cells?: Tally;
}

/**
 * Copies a node's state into empty stores, and returns what was read. No process changes the source.
 * @param oldestEpoch cells of earlier epochs are not copied and not counted
 * @throws as the stores
 */
export async function copyState(from: NodeState, to: NodeState, oldestEpoch: number): Promise<StateTally> {
  const { ledger, mail, messages, playbook, cells } = from;
  return {
    records: await copyRecords(from.records, to.records),
    ...(ledger && { ledger: await copyLog(ledger, required(to.ledger)) }),
    ...(mail && { mail: await copyLog(mail, required(to.mail)) }),
    ...(messages && { messages: await copyMail(messages, required(to.messages).queue) }),
    ...(playbook && { playbook: await copyLog(playbook, required(to.playbook)) }),
    ...(cells && { cells: await copyCells(cells, required(to.cells), oldestEpoch) }),
  };
}

/** Reads a whole state. @param oldestEpoch cells of earlier epochs are not counted */
export async function tallyState(
  { records, ledger, mail, messages, playbook, cells }: NodeState,
  oldestEpoch: number,
): Promise<StateTally> {
  return {
    records: await copyRecords(records),
    ...(ledger && { ledger: await copyLog(ledger) }),
    ...(mail && { mail: await copyLog(mail) }),
    ...(messages && { messages: await copyMail(messages) }),
    ...(playbook && { playbook: await copyLog(playbook) }),
    ...(cells && { cells: await copyCells(cells, undefined, oldestEpoch) }),
  };
}

/** Whether there is nothing to lose, beside mail in Kafka. */
export async function isEmpty({ records, ledger, mail, playbook, cells }: NodeState): Promise<boolean> {
  for (const log of [ledger, mail, playbook]) for await (const _entry of log?.range({ limit: 1 }) ?? []) return false;
  for await (const _head of cells?.outline() ?? []) return false;
  for (const name of await records.collections())
    if ((await records.collection(name).page({ limit: 1 })).entries.length > 0) return false;
  return true;
}

class Tallying {
  readonly #hash: Hash = createHash('sha256');
  #count = 0;

  add(...parts: readonly Uint8Array[]): void {
    for (const part of parts) this.#hash.update(u32be(part.length)).update(part);
    this.#count++;
  }

  end(): Tally {
    return { count: this.#count, sha256: this.#hash.digest('hex') };
  }
}

async function copyRecords(from: RecordStore, to?: RecordStore): Promise<Tally> {
  const tallying = new Tallying();
  for (const name of await from.collections()) {
    // Without its indexes: the node builds them when it opens the collection.
    const [source, target] = [from.collection(name), to?.collection(name)];
    for (let after: Uint8Array | undefined; ; ) {
      const { entries, next } = await source.page({ limit: PAGE, ...(after && { after }) });
      for (const { key, value } of entries) tallying.add(utf8(name), utf8(key), value);
      if (target !== undefined) await inGroups(entries, ({ key, value }) => target.put(key, value));
      if (next === undefined) break;
      after = next;
    }
  }
  return tallying.end();
}

async function copyLog(from: Log, to?: Log): Promise<Tally> {
  const tallying = new Tallying();
  const writer = await to?.acquire();
  let batch: Write[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (batch.length > 0) await writer?.append(batch);
    [batch, bytes] = [[], 0];
  };
  for await (const { key, value } of from.range() as AsyncIterable<Entry>) {
    tallying.add(key, value);
    if (writer === undefined) continue;
    if (batch.length > 0 && bytes + value.length > BATCH_BYTES) await flush();
    batch.push({ put: key, value });
    bytes += value.length;
    if (batch.length === BATCH) await flush();
  }
  await flush();
  return tallying.end();
}

async function copyCells(from: Cells, to: Cells | undefined, oldestEpoch: number): Promise<Tally> {
  const tallying = new Tallying();
  const created = new Set<number>();
  const copy = async (heads: readonly CellHead[]): Promise<void> => {
    const cells = await Promise.all(
      heads.map(async ({ index }): Promise<NewCell> => {
        const cell = await from.get(index);
        if (cell === undefined) throw new MillraceError('E_CONFLICT', 'a cell was removed while cells were copied');
        return { index, ...cell };
      }),
    );
    for (const { index, epoch, body } of cells) {
      tallying.add(index, u32be(epoch), body);
      if (to === undefined || created.has(epoch)) continue;
      await to.create(epoch);
      created.add(epoch);
    }
    await to?.put(cells);
  };
  let heads: CellHead[] = [];
  for await (const head of from.outline()) {
    if (head.epoch < oldestEpoch) continue;
    heads.push(head);
    if (heads.length < TOGETHER) continue;
    await copy(heads);
    heads = [];
  }
  await copy(heads);
  return tallying.end();
}

async function inGroups<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += TOGETHER)
    await Promise.all(items.slice(from, from + TOGETHER).map(work));
}

function required<T>(store: T | undefined): T {
  if (store === undefined) throw new MillraceError('E_INTERNAL', 'the target lacks a store of the source');
  return store;
}
