import type { Closable } from '@millrace/base';
import {
  type ControlNode,
  endingLease,
  type Lease,
  type NodeConfig,
  openNode,
  runControlMember,
  shareKeys,
} from '@millrace/cloud/parts';
import type { Address } from '@millrace/protocol';
import {
  type Collection,
  type Log,
  type LogWriter,
  MemoryLog,
  MemoryRecords,
  openLogQueue,
  type RecordStore,
} from '@millrace/stores';
import { MemoryStore } from '@millrace/stores/parts';
import { MemorySlots } from '@millrace/vault';

/** The state of control nodes in memory, shared as they share a keyspace of a cluster. */
export class ControlKeyspace {
  readonly #maps = {
    records: new MemoryStore(),
    leases: new MemoryStore(),
    sessions: new MemoryStore(),
    ledger: new MemoryStore(),
    mail: new MemoryStore(),
  };
  readonly records = new MemoryRecords(this.#maps.records);
  readonly leases = new MemoryRecords(this.#maps.leases);
  readonly sessions = new MemoryRecords(this.#maps.sessions);
  readonly ledger = new MemoryLog(this.#maps.ledger);
  readonly mail = new MemoryLog(this.#maps.mail);

  /** What somebody has who copies it now. */
  async copy(): Promise<ControlKeyspace> {
    const copy = new ControlKeyspace();
    for (const name of ['records', 'leases', 'sessions', 'ledger', 'mail'] as const)
      for await (const { key, value } of this.#maps[name].range()) await copy.#maps[name].put(key, value);
    return copy;
  }
}

/** The time of a control node as the active one. */
export interface ControlTurn {
  readonly id: string;
  readonly lease: Lease;
  readonly node: ControlNode;
  /** Of its ledger and its mail. */
  readonly writers: readonly LogWriter[];
}

type Modules = Parameters<typeof openNode>[1];

/** Runs a control node on a shared keyspace, with its folder, keys, directory and TLS. */
export function runSharedControl(
  {
    config,
    address,
    keyspace,
  }: { readonly config: NodeConfig; readonly address: Address; readonly keyspace: ControlKeyspace },
  modules: Modules,
  onTurn: (turn: ControlTurn) => void,
): Promise<Closable> {
  return runControlMember(
    {
      ...{ config, address },
      openLeases: async () => ({ records: () => keyspace.leases, close: async () => undefined }),
      open: async () => ({ close: async () => undefined }),
      activate: async ({ lease, holder, serve }) => {
        const own = { keys: shareKeys(config, holder), serve };
        const writers: LogWriter[] = [];
        const logged = (log: Log): Log => ({
          ...{ get: (key) => log.get(key), getMany: (keys) => log.getMany(keys), range: (range) => log.range(range) },
          acquire: async () => {
            const writer = await log.acquire();
            writers.push(writer);
            return writer;
          },
          close: () => log.close(),
        });
        const node = await openNode({ config, address, shared: own }, modules, async () => ({
          records: guarded(keyspace.records, lease),
          ledger: endingLease(logged(keyspace.ledger), lease),
          sessions: guarded(keyspace.sessions, lease),
          queue: await openLogQueue(endingLease(logged(keyspace.mail), lease), { clock: modules.clock }),
          boxes: { mail: new MemorySlots() },
          close: () => undefined,
        }));
        onTurn({ id: config.id, lease, node, writers });
        return node;
      },
    },
    modules,
  );
}

/**
 * Runs a control node on a keyspace without asking anybody for the lease, as a hostile one does: it says that it is
 * active.
 */
export async function runUnasked(
  {
    config,
    address,
    keyspace,
  }: { readonly config: NodeConfig; readonly address: Address; readonly keyspace: ControlKeyspace },
  modules: Modules,
): Promise<ControlNode> {
  return openNode({ config, address }, modules, async () => ({
    ...{ records: keyspace.records, ledger: keyspace.ledger, sessions: keyspace.sessions },
    queue: await openLogQueue(keyspace.mail, { clock: modules.clock }),
    boxes: { mail: new MemorySlots() },
    close: () => undefined,
  }));
}

/** Records that are used only while the lease lasts. */
function guarded(store: RecordStore, lease: Lease): RecordStore {
  return {
    ...{ collections: () => store.collections(), close: async () => undefined },
    collection: (name, options) => {
      const all = store.collection(name, options);
      const check =
        <A extends unknown[], R>(call: (...given: A) => Promise<R>) =>
        async (...given: A): Promise<R> => {
          lease.check();
          return call(...given);
        };
      return {
        get: check((key) => all.get(key)),
        put: check((key, value) => all.put(key, value)),
        delete: check((key) => all.delete(key)),
        compareAndSwap: check((key, before, after) => all.compareAndSwap(key, before, after)),
        page: check((options) => all.page(options)),
      } satisfies Collection;
    },
  };
}
