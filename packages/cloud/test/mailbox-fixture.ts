import {
  type Bytes,
  type Clock,
  copyBytes,
  encodeCbor,
  MillraceError,
  silentLogger,
  systemClock,
  toHex,
  utf8,
} from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import type { BoxUse, Directory, HttpClient, Message } from '@millrace/protocol';
import { MemoryQueue, MemoryRecords, type Queue } from '@millrace/stores';
import { MemorySlots, type Slots } from '@millrace/vault';
import { BoxRegistry } from '../src/control/boxes.ts';
import { Mailbox } from '../src/control/mailbox.ts';
import { controlClient } from '../src/node/api-clients.ts';
import { KnownBoxes } from '../src/node/known-boxes.ts';
import { createMailClient, type Handler, type MailClient } from '../src/node/mail-client.ts';
import { type BoxPeriod, OwnBoxes } from '../src/node/own-boxes.ts';

export class ManualClock implements Clock {
  #now = 1_800_000_000_000;

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  pass(ms: number): void {
    this.#now += ms;
  }
}

export const PERIODS: Record<BoxUse, BoxPeriod> = {
  mail: { periodMs: 60_000, retentionMs: 0 },
  attachments: { periodMs: 60_000, retentionMs: 600_000 },
};

type Proactive = 'keys' | 'segments';

/** The state of a node that survives its process. */
interface Durable {
  readonly store: MemoryRecords;
  readonly slots: Record<BoxUse, MemorySlots>;
}

export interface TestNode {
  readonly mail: MailClient;
  readonly boxes: Record<BoxUse, OwnBoxes>;
  /** Announces keys, makes a new key when one is due, and polls. */
  start(handle: Handler): Promise<void>;
  close(): Promise<void>;
}

/** Called before and after every durable step. It throws at the step where the process is killed. */
export type Fault = (what: string) => void;

/** Control's mailbox and both proactive nodes in one process, without HTTP. Their durable state survives restarts. */
export class MailboxFixture {
  readonly clock = new ManualClock();
  readonly identities = { control: generateP256Key(), segments: generateP256Key(), keys: generateP256Key() };
  readonly directory: Directory;
  readonly controlStore = new MemoryRecords();
  readonly registry: BoxRegistry;
  readonly mailbox: Mailbox;
  readonly queue: Queue;
  /** All sealed mail to and from control, as an observer of its traffic would record it. */
  readonly recorded: { readonly to: string; readonly from: string; readonly sealed: Bytes }[] = [];
  readonly #durable: Record<Proactive, Durable> = { keys: durable(), segments: durable() };

  constructor() {
    const nodes = Object.entries(this.identities).map(([role, { publicKey }]) => ({
      id: `${role}-1`,
      role,
      addresses: [],
      fingerprint: '00'.repeat(32),
      identity: toHex(publicKey),
    }));
    this.directory = { installation: '11'.repeat(16), nodes } as unknown as Directory;
    this.queue = new MemoryQueue();
    this.registry = new BoxRegistry(this.controlStore, this.directory);
    const identity = this.identities.control;
    this.mailbox = new Mailbox({
      queue: this.queue,
      id: 'control-1',
      directory: this.directory,
      identity,
      boxes: this.registry,
      clock: systemClock,
    });
  }

  slots(role: Proactive, use: BoxUse): MemorySlots {
    return this.#durable[role].slots[use];
  }

  /** A copy of the disk of `role`; `restore` writes it back. */
  async copyOf(role: Proactive, use: BoxUse): Promise<{ restore(): Promise<void>; contents: Bytes[] }> {
    const slots = this.slots(role, use);
    const contents: (Bytes | undefined)[] = [];
    for (let slot = 0; slot < (await slots.count()); slot++) contents.push(await slots.read(slot));
    const restore = async () => {
      for (let slot = 0; slot < (await slots.count()); slot++) await slots.erase(slot);
      for (const [slot, content] of contents.entries()) if (content !== undefined) await slots.write(slot, content);
    };
    return { restore, contents: contents.filter((content) => content !== undefined) };
  }

  store(role: Proactive): MemoryRecords {
    return this.#durable[role].store;
  }

  /** Starts a process of the node. */
  async node(role: Proactive, fault: Fault = () => undefined): Promise<TestNode> {
    const { store, slots } = this.#durable[role];
    const { directory, clock } = this;
    const identity = this.identities[role];
    const logger = silentLogger;
    const open = (use: BoxUse) =>
      OwnBoxes.open({
        slots: faulty(slots[use], fault),
        directory,
        node: `${role}-1`,
        use,
        identity,
        period: PERIODS[use],
        clock,
        logger,
        announce: async (document, floor) => {
          fault(`before announcing ${use}`);
          await this.mailbox.announce(`${role}-1`, use, document, floor);
          fault(`after announcing ${use}`);
        },
      });
    const boxes = { mail: await open('mail'), attachments: await open('attachments') };
    const http = this.#http(role);
    const control = controlClient(http);
    const ask = (node: string) => control.boxes.newest({ node, use: 'mail' });
    const known = new KnownBoxes({ store, directory, ask, logger });
    const mail = createMailClient({ control, directory, id: `${role}-1`, identity, boxes, known, logger });
    return {
      mail,
      boxes,
      start: async (handle) => {
        await boxes.mail.start();
        await boxes.attachments.start();
        mail.start(handle);
      },
      close: async () => {
        await mail.close();
        await boxes.mail.close();
        await boxes.attachments.close();
      },
    };
  }

  #http(role: Proactive): HttpClient {
    const answer = (body: Bytes) => ({ status: 200, body, json: () => ({}) });
    const own = `${role}-1`;
    const call: HttpClient['call'] = async (method, path, { json, body, signal } = {}) => {
      const url = new URL(path, 'https://control');
      const [, , kind, name = ''] = url.pathname.split('/');
      if (kind === 'boxes') return answer(copyBytes((await this.registry.newest(name, 'mail')).document));
      const { ids } = (json ?? { ids: [] }) as { ids: string[] };
      if (name === 'acknowledge') await this.mailbox.acknowledge(own, ids);
      else if (name === 'release') await this.mailbox.release(own, ids);
      else if (method === 'POST') {
        const sealed = copyBytes(body ?? new Uint8Array());
        await this.mailbox.put(name, own, url.searchParams.get('id') ?? '', sealed);
        this.recorded.push({ to: name, from: own, sealed });
      } else {
        const consumer = url.searchParams.get('consumer') ?? '';
        const waiting = signal ?? new AbortController().signal;
        const given = await this.mailbox.poll(own, consumer, 1_000, waiting);
        for (const { from, sealed } of given)
          if (from === 'control-1') this.recorded.push({ to: own, from, sealed: copyBytes(sealed) });
        signal?.throwIfAborted();
        return answer(encodeCbor(given as never));
      }
      return answer(utf8('{}'));
    };
    return { call, close: () => undefined };
  }
}

function durable(): Durable {
  return { store: new MemoryRecords(), slots: { mail: new MemorySlots(), attachments: new MemorySlots() } };
}

function faulty(slots: MemorySlots, fault: Fault): Slots {
  return {
    read: (slot) => slots.read(slot),
    count: () => slots.count(),
    write: async (slot, content) => {
      fault('before writing a key');
      await slots.write(slot, content);
      fault('after writing a key');
    },
    erase: async (slot) => {
      fault('before erasing a key');
      await slots.erase(slot);
      fault('after erasing a key');
    },
    close: async () => undefined,
  };
}

/** A message with a number and a secret. */
export function numbered(number: number): Message & { type: 'stream.mix' } {
  return { type: 'stream.mix', session: '22'.repeat(16), revision: number, secret: new Uint8Array(32).fill(number) };
}

export const killed = () => new MillraceError('E_INTERNAL', 'killed here');
