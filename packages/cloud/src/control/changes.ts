import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Action, ChangeEvent } from '@millrace/api';
import { type Bytes, type Clock, concatBytes, type RandomSource, toHex, u64be } from '@millrace/base';
import type { ChangeKind } from '@millrace/protocol';
import { type Actor, permits, type Resource } from '../node/policy.ts';
import type { LicenceRecord } from './licence-records.ts';
import type { SpoolRecord } from './material-records.ts';
import type { PrintRecord } from './records.ts';

/** Things whose last change is kept. A caller that has missed more reads everything again. */
const MOST_KEPT = 4_096;
/** Live figures of one print are told at most this often, ms. */
const FIGURES_MS = 1_000;

/** A change, and on what the policy decides who is told. */
export interface Change extends ChangeEvent {
  readonly resource: Resource;
  /** Key names of a licence's approvers. */
  readonly approvers?: readonly string[] | undefined;
  /** Absent for live figures, which are not told again. */
  readonly number?: number;
}

const reads: Readonly<Record<ChangeKind, Action>> = {
  design: 'design.read',
  licence: 'licence.read',
  print: 'print.read',
  machine: 'machine.read',
  // Shown to the party that has loaded it, which holds it.
  spool: 'print.read',
  case: 'case.read',
};

/** Whether the lists show the thing to the actor. */
export function isTold(actor: Actor, { kind, resource, approvers }: Change): boolean {
  const own = 'name' in actor ? actor.name : undefined;
  const approver = approvers?.find((name) => name === own);
  return permits(actor, reads[kind], approver === undefined ? resource : { ...resource, approver });
}

/**
 * Changes of records, numbered. The last change of each thing is kept, up to `MOST_KEPT`, so that callers who connect
 * again learn what they have missed. In memory: ids of another process are unknown, and mean that everything has to be
 * read again. An id is the encrypted number: numbers would tell how much changes for others.
 */
export class Changes {
  readonly #key: Bytes;
  readonly #clock: Pick<Clock, 'monotonic'>;
  /** When figures of a print were last told. */
  readonly #figures = new Map<string, number>();
  readonly #kept = new Map<string, Change & { readonly number: number }>();
  readonly #listeners = new Set<(change: Change) => void>();
  #last = 0;
  /** The newest change that was dropped. */
  #dropped = 0;

  constructor(clock: Pick<Clock, 'monotonic'>, random: RandomSource) {
    this.#clock = clock;
    this.#key = random(16);
  }

  /** A record of a table was written. Tables whose changes are not told are ignored. */
  readonly wrote = (table: string, id: string, record: unknown): void => {
    const change = changeOf(table, id, record);
    if (change === undefined) return;
    const name = `${change.kind}/${id}`;
    const numbered = { ...change, number: ++this.#last };
    this.#kept.delete(name);
    this.#kept.set(name, numbered);
    const [oldest] = this.#kept;
    if (this.#kept.size > MOST_KEPT && oldest !== undefined) {
      this.#dropped = oldest[1].number;
      this.#kept.delete(oldest[0]);
    }
    this.tell(numbered);
  };

  /** Tells a change that is not kept. */
  tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }

  /** A running print has new figures. */
  figures({ print, owner, holder }: Pick<PrintRecord, 'print' | 'owner' | 'holder'>): void {
    const now = this.#clock.monotonic();
    if (now - (this.#figures.get(print) ?? Number.NEGATIVE_INFINITY) < FIGURES_MS) return;
    // The oldest come first, because each is put at the end.
    this.#figures.delete(print);
    this.#figures.set(print, now);
    for (const [name, at] of this.#figures) {
      if (now - at < FIGURES_MS) break;
      this.#figures.delete(name);
    }
    this.tell({ kind: 'print', id: print, resource: { owner, holder } });
  }

  /** @returns how to end it */
  listen(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  idOf(number: number = this.#last): string {
    const cipher = createCipheriv('aes-128-ecb', this.#key, null).setAutoPadding(false);
    return toHex(new Uint8Array(cipher.update(concatBytes(new Uint8Array(8), u64be(BigInt(number))))));
  }

  /** The changes after an event, in order; undefined if some may be missing. */
  since(event: string): Change[] | undefined {
    const number = this.#numberOf(event);
    if (number === undefined || number < this.#dropped) return undefined;
    return [...this.#kept.values()].filter((change) => change.number > number);
  }

  #numberOf(event: string): number | undefined {
    if (!/^[0-9a-f]{32}$/.test(event)) return undefined;
    const decipher = createDecipheriv('aes-128-ecb', this.#key, null).setAutoPadding(false);
    const block = decipher.update(Buffer.from(event, 'hex'));
    const number = Number(block.readBigUInt64BE(8));
    return block.readBigUInt64BE(0) === 0n && number <= this.#last ? number : undefined;
  }
}

function changeOf(table: string, id: string, record: unknown): Change | undefined {
  switch (table) {
    case 'design':
    case 'print':
    case 'case': {
      const { owner, holder } = record as Resource;
      return { kind: table, id, resource: { owner, holder } };
    }
    case 'licence': {
      const { owner, holder, approvers } = record as LicenceRecord;
      return { kind: table, id, resource: { owner, holder }, approvers: approvers?.map(({ key }) => key) };
    }
    case 'machine':
      return { kind: table, id, resource: {} };
    case 'spool':
      return { kind: table, id, resource: { holder: (record as SpoolRecord).party } };
    default:
      return undefined;
  }
}
