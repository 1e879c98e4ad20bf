import type { MachineState } from '@millrace/protocol';
import { stateOf } from './machine-state.ts';
import type { AgentParts } from './parts.ts';
import { SegmentRate } from './segment-rate.ts';

/** Progress of one print over all of its sessions. In memory only; the journal holds the durable part. */
export class PrintProgress {
  readonly #parts: Pick<AgentParts, 'clock' | 'driver' | 'link'>;
  readonly #rate = new SegmentRate();
  readonly #wireBefore: number;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  state: MachineState['state'] = 'waiting';
  /** Segments of the design; known from the first session on. */
  segments: number | undefined;
  /** Number of received segments: all below this number have arrived. */
  got = 0;
  /** Segments and bytes of the design that the machine has taken. */
  taken = 0;
  bytes = 0;
  /** When the machine took the last of them, monotonic ms. */
  takenAt: number | undefined;
  /** Hints received and solved. */
  hints = 0;
  sessions = 0;

  constructor(parts: Pick<AgentParts, 'clock' | 'driver' | 'link'>) {
    this.#parts = parts;
    this.#wireBefore = parts.link.wireBytes();
    this.startedAt = parts.clock.now();
  }

  /** Whether the whole design has arrived. The machine no longer needs the cloud. */
  get isComplete(): boolean {
    return this.got === this.segments;
  }

  /** Whether the machine has taken the whole design. */
  get isTaken(): boolean {
    return this.taken === this.segments;
  }

  /** Time for which the machine can work from its buffer, ms; undefined while its rate is unknown. */
  get bufferMs(): number | undefined {
    const buffered = this.got - this.taken;
    return buffered === 0 ? 0 : this.#rate.millisecondsFor(buffered) || undefined;
  }

  /** The machine took the next segment. */
  took(bytes: number): void {
    this.taken++;
    this.bytes += bytes;
    this.takenAt = this.#parts.clock.monotonic();
    this.#rate.taken(this.takenAt);
  }

  /** Bytes on the machine's link for this print, both directions, TLS included. */
  wireBytes(): number {
    return this.#parts.link.wireBytes() - this.#wireBefore;
  }

  /** What the cloud may see of the machine. */
  machineState(): MachineState {
    const { state, bufferMs, hints } = this;
    return stateOf(this.#parts.driver, { state, bufferMs, wire: this.wireBytes(), hints });
  }
}
