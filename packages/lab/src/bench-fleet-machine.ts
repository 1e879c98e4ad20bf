import { distributionLinks } from '@millrace/api';
import { type Bytes, equalBytes, fromHex, Mutex, silentLogger, toHex, u32be } from '@millrace/base';
import { generateP256Key, type HpkeRecipient, type TlsIdentity } from '@millrace/identity';
import { createSender, type HashEngine, type Sender } from '@millrace/live-matrix';
import {
  acceptSession,
  connectLink,
  decodeKey,
  decodeLink,
  encodeStream,
  forwardSeed,
  type LinkMessage,
  type LinkSocket,
  nodeOf,
  reverseKeys,
  reverseMatrix,
  type SessionOffer,
  type StreamParameters,
  sealTelemetry,
  sliceStep,
} from '@millrace/protocol';
import { tell } from './bench-fleet-ipc.ts';
import { bindingOf, type FleetSetup, keysOf, timesOf } from './bench-fleet-setup.ts';

/** Time of a table of order 24 on a slow machine, ms. */
const TABLE_MS = 600;
/** Intervals of the agent's reporter: the machine's state alone, and together with another message. */
const STATE_MS = 5_000;
const state = {
  state: 'running' as const,
  temperatures: { hotend: 215, bed: 60 },
  buffer: 31.4,
  wire: 1_456_789,
  hints: 456_789,
};

/** Length of the state that an agent seals to the owner, bytes. */
const SEALED = new Uint8Array(213);

/** Counts of all machines of a process together. */
export interface Counts {
  running: number;
  frames: number;
  keys: number;
  reverse: number;
  taken: number;
  wrong: number;
  starved: number;
  lost: number;
  latency: number[];
}

export interface MachineParts {
  readonly fleet: FleetSetup;
  readonly host: string;
  readonly engine: HashEngine;
  readonly cells: (segment: number) => Bytes;
  readonly counts: Counts;
}

interface Session {
  readonly parameters: StreamParameters;
  readonly context: HpkeRecipient;
  /** Computes every expected frame from the session's secrets and the cells. */
  readonly mirror: Sender;
  readonly reverse: Sender;
  readonly telemetryKey: Bytes;
}

/**
 * One machine, with its own certificate, TLS connection and session. It does not build tables. Instead it computes the
 * expected frame from the session's keys and the cell and compares the whole frame, so every hint, parity and MAC is
 * checked at the cost of sending.
 */
export class FleetMachine {
  readonly #name: string;
  readonly #parts: MachineParts;
  readonly #link: LinkSocket;
  readonly #key = generateP256Key();
  readonly #ephemeral = generateP256Key();
  readonly #sealed = new Mutex();
  readonly #times: readonly number[];
  readonly #frames = new Set<number>();
  readonly #asked = new Map<number, number>();
  #session: Session | undefined;
  #ready = 0n;
  #preparing = 0;
  #keys = 0;
  #got = 0;
  #taken = 0;
  #sliced = 0;
  #number = 0;
  #stateAt = 0;
  #takesAt = Number.POSITIVE_INFINITY;
  #starving = false;

  constructor(name: string, tls: TlsIdentity, parts: MachineParts, opened: () => void) {
    const { fleet, host, counts } = parts;
    this.#name = name;
    this.#parts = parts;
    this.#times = timesOf(fleet, name);
    const pin = nodeOf(fleet.directory, 'distribution').fingerprint;
    this.#link = connectLink(
      {
        addresses: () => [{ host, port: fleet.addresses.distribution.port }],
        path: distributionLinks.machine.path,
        tls: { authority: fleet.directory.authority, identity: tls, pin },
        logger: silentLogger,
      },
      {
        open: () => {
          const { publicKey: key } = this.#key;
          tell({ type: 'home', machine: name, key, ephemeral: this.#ephemeral.publicKey });
        },
        message: (bytes) => this.#onMessage(decodeLink(bytes, false), opened),
        closed: () => {
          counts.lost++;
        },
      },
    );
  }

  /** Consumes a segment and reports state when due. */
  tick(now: number): void {
    if (this.#session === undefined) return;
    const { counts } = this.#parts;
    while (now >= this.#takesAt) {
      if (this.#taken >= this.#got) {
        if (!this.#starving) counts.starved++;
        this.#starving = true;
        break;
      }
      if (this.#starving) this.#takesAt = now;
      this.#starving = false;
      this.#takesAt += (this.#times[this.#taken] ?? 0) / 10;
      this.#taken++;
      counts.taken++;
      this.#report(now);
    }
    if (this.#preparing > 0 && now >= this.#preparing) {
      this.#preparing = 0;
      this.#ready++;
      this.#report(now);
    }
    // Before the first frame, the nodes may not have opened their ends of the session.
    if (now - this.#stateAt >= (this.#got === 0 ? 1_000 : STATE_MS)) this.#report(now);
  }

  #onMessage(message: LinkMessage, opened: () => void): void {
    if (message.kind === 'frame') return this.#onFrame(message.payload);
    if (message.kind === 'key') return void this.#sealed.run(() => this.#onKey(message.payload));
    if (message.kind !== 'control') return;
    if (message.message.type === 'offer') {
      const { offer } = message.message;
      void this.#sealed.run(() => this.#accept(offer)).then(opened);
    } else if (message.message.type !== 'hashes') this.#parts.counts.lost++;
  }

  async #accept(offer: SessionOffer): Promise<void> {
    const { engine } = this.#parts;
    const binding = bindingOf(this.#name, offer.session);
    const sender = fromHex(nodeOf(this.#parts.fleet.directory, 'keys').identity);
    const own = { machineKey: this.#key, ephemeral: this.#ephemeral };
    const side = await acceptSession({ binding, offer, ...own, sender });
    const { order, suite, hints } = side.parameters;
    const session = { sessionId: offer.session, engine };
    const { seed, telemetry } = reverseKeys(side.seed);
    this.#session = {
      parameters: side.parameters,
      context: side.context,
      mirror: createSender({ ...session, parameters: { order, suite, hints }, seed: forwardSeed(side.seed) }),
      reverse: createSender({ ...session, parameters: reverseMatrix(side.parameters), seed }),
      telemetryKey: telemetry,
    };
    this.#report(performance.now());
  }

  #onFrame(payload: Bytes): void {
    const session = this.#session;
    const { counts, cells } = this.#parts;
    if (session === undefined) return;
    counts.frames++;
    const view = new DataView(payload.buffer, payload.byteOffset);
    const [revision, segment] = [view.getBigUint64(22), view.getUint32(30)];
    while (session.mirror.revision < revision) session.mirror.advance();
    while (session.reverse.revision < revision) session.reverse.advance();
    if (!equalBytes(session.mirror.encode(segment, cells(segment)), payload)) counts.wrong++;
    const asked = this.#asked.get(segment);
    this.#asked.delete(segment);
    const now = performance.now();
    if (asked !== undefined && this.#takesAt < Number.POSITIVE_INFINITY) counts.latency.push(now - asked);
    this.#frames.add(segment);
    if (revision >= this.#ready && this.#preparing === 0) this.#preparing = now + TABLE_MS;
    this.#deliver(now);
  }

  async #onKey(payload: Bytes): Promise<void> {
    const { counts } = this.#parts;
    const { segment, sealed } = decodeKey(payload);
    const keys = await this.#session?.context.open(sealed, u32be(segment));
    counts.keys++;
    if (segment !== this.#keys || keys === undefined || !equalBytes(keys, keysOf(segment))) counts.wrong++;
    this.#keys = segment + 1;
    this.#deliver(performance.now());
  }

  #deliver(now: number): void {
    while (this.#got < this.#keys && this.#frames.delete(this.#got)) this.#got++;
    const { window } = this.#session?.parameters ?? { window: 0 };
    if (this.#takesAt === Number.POSITIVE_INFINITY && this.#got >= window >> 1) {
      this.#takesAt = now + (Math.random() * (this.#times[0] ?? 0)) / 10;
      this.#parts.counts.running++;
    }
  }

  #report(now: number): void {
    const session = this.#session;
    if (session === undefined) return;
    const withState = now - this.#stateAt >= STATE_MS / 2;
    const stateNow = withState ? { machine: state, sealed: SEALED, tableMs: TABLE_MS } : {};
    const telemetry = { acked: this.#taken, got: this.#got, ready: this.#ready, ...stateNow };
    const number = this.#number++;
    const frame = session.reverse.encode(number, sealTelemetry(session.telemetryKey, number, telemetry));
    this.#link.send(encodeStream('reverse', frame));
    this.#parts.counts.reverse++;
    if (withState) this.#stateAt = now;
    // The keys that the keys node sends for a segment (keys/stream.ts).
    const { segments, window } = session.parameters;
    const step = sliceStep(window);
    const to = Math.min(segments, this.#taken + window);
    if (to - this.#sliced < step) return;
    for (; this.#sliced < to; this.#sliced++) this.#asked.set(this.#sliced, now);
  }
}

export function machineName(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(16)));
}
