import { type Clock, compareBytes, fromHex, MillraceError, toHex } from '@millrace/base';
import {
  type EventRequest,
  ed25519NoteSigner,
  type Ledger,
  type LedgerEvent,
  type LedgerStore,
  type LedgerWriter,
  leafHash,
  nodeHash,
  openLedger,
  type RangeOptions,
  type StoreWrite,
} from '@millrace/ledger';

/** The first event of an account. */
export const sampleEvent: LedgerEvent = {
  v: 1,
  id: 'event-1',
  account: 'object-1',
  sequence: 0,
  previous: null,
  type: 'ordered',
  time: 1_700_000_000_000,
  actor: 'owner',
  body: { layer: 3 },
};

/** A store in memory, in byte order, with atomic batches. */
export class MemoryStore implements LedgerStore {
  readonly map = new Map<string, Uint8Array>();
  batches = 0;
  #token = 0;

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.map.get(toHex(key));
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return Promise.all(keys.map((key) => this.get(key)));
  }

  async acquire(): Promise<LedgerWriter> {
    const token = ++this.#token;
    return {
      append: async (writes) => {
        if (token !== this.#token) throw new MillraceError('E_FENCED', 'another writer has taken over');
        await this.batch(writes);
      },
    };
  }

  async batch(writes: readonly StoreWrite[]): Promise<void> {
    this.batches += 1;
    for (const write of writes) {
      if ('put' in write) this.map.set(toHex(write.put), Uint8Array.from(write.value));
      else this.map.delete(toHex(write.delete));
    }
  }

  async *range(options: RangeOptions): AsyncIterable<{ key: Uint8Array; value: Uint8Array }> {
    const keys = [...this.map.keys()].map(fromHex).sort(compareBytes);
    if (options.reverse) keys.reverse();
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    for (const key of keys) {
      if (options.gte !== undefined && compareBytes(key, options.gte) < 0) continue;
      if (options.lt !== undefined && compareBytes(key, options.lt) >= 0) continue;
      const value = this.map.get(toHex(key));
      if (value === undefined || left-- <= 0) continue;
      yield { key, value };
    }
  }

  clone(): MemoryStore {
    const copy = new MemoryStore();
    for (const [key, value] of this.map) copy.map.set(key, Uint8Array.from(value));
    return copy;
  }
}

export const origin = 'ledger.example/one';
export const signer = ed25519NoteSigner(origin, new Uint8Array(32).fill(7));
export const witness = ed25519NoteSigner('witness.example/w1', new Uint8Array(32).fill(9));

/** A clock that advances by one second per reading. */
export function stepClock(start = 1_700_000_000_000): Clock {
  let now = start;
  return { now: () => (now += 1000), monotonic: () => now };
}

export function openTestLedger(store: LedgerStore): Promise<Ledger> {
  return openLedger({ store, signer, origin, clock: stepClock() });
}

export function request(account: string, type: EventRequest['type'], more: Partial<EventRequest> = {}): EventRequest {
  return { account, type, actor: 'actor-1', body: {}, eventId: `${account}/${type}`, ...more };
}

/** Licence, machine and one object from order to inspection. */
export function story(object = 'object-1', licence = 'licence-1', machine = 'machine-1'): EventRequest[] {
  const evidence = [Uint8Array.of(0xd2, 1, 2, 3), Uint8Array.of(0xd2)];
  return [
    request(machine, 'machine', { body: { serial: 'SN-42', pace: 1000 } }),
    request(licence, 'licensed', { actor: 'owner', body: { objects: 2, machine }, evidence }),
    request(object, 'ordered', { actor: 'owner', body: { design: 'design-1' } }),
    request(object, 'licensed', { actor: 'owner', body: { licence }, evidence }),
    request(object, 'permitted', { actor: 'control', body: { licence, machine } }),
    request(object, 'started', { actor: machine }),
    request(object, 'progressed', { actor: machine, body: { layer: 3, grams: { used: 12, lots: ['a', 'b'] } } }),
    request(object, 'completed', { actor: machine, body: { digest: new Uint8Array(32).fill(5) }, evidence }),
    request(object, 'inspected', { actor: 'owner', body: { passed: true, note: null } }),
  ];
}

export async function storyLedger(store: LedgerStore = new MemoryStore()): Promise<Ledger> {
  const ledger = await openTestLedger(store);
  for (const event of story()) await ledger.append(event);
  return ledger;
}

/** Root by the recursive definition of RFC 6962, for comparison. */
export function naiveRoot(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves;
  if (first === undefined) return fromHex('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  if (leaves.length === 1) return first;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)));
}

export function naiveReader(leaves: readonly Uint8Array[]) {
  return async (level: number, index: number) => naiveRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level));
}

export function leavesByRule(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => leafHash(new TextEncoder().encode(`entry ${i}`)));
}

/** The code of the error that `run` throws. Fails the test if it does not throw. */
export async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    if (typeof error === 'object' && error !== null && 'code' in error) return String(error.code);
    throw error;
  }
  throw new Error('nothing was thrown');
}
