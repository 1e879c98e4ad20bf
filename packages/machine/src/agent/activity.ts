import { type Clock, type MillraceError, toMillraceError } from '@millrace/base';
import type { Driver, Telemetry } from '../drivers/contract.ts';
import type { RunRecord } from './run-record.ts';

/** What the agent does, in the order of one object. */
export type AgentStep =
  /** Waits until the operator lets it work. */
  | 'held'
  /** Connects to the machine and checks its serial number. */
  | 'machine'
  /** Connects to the cloud. */
  | 'cloud'
  /** Delivers the reports of earlier prints. */
  | 'reports'
  /** Asks control for a print. */
  | 'work'
  | 'print';

/** What people at the machine may see. Nothing of the design: no position, layer or line. */
export interface AgentStatus {
  readonly step: AgentStep;
  /** Whether there is a link to the cloud. */
  readonly connected: boolean;
  readonly machine: Pick<Telemetry, 'state' | 'pause' | 'starved' | 'temperatures'>;
  /** Why the operator lets the machine take no work. */
  readonly held?: string | undefined;
  /** Why the present step does not succeed. */
  readonly problem?: MillraceError | undefined;
  readonly print?: PrintStatus | undefined;
  /** The newest print that has ended since the agent started. */
  readonly last?: EndedPrint | undefined;
}

export interface PrintStatus extends Progress {
  readonly object?: string | undefined;
}

/** How far a print is. */
interface Progress {
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** Segments of the design, received, and taken by the machine. */
  readonly segments: number | undefined;
  readonly got: number;
  readonly taken: number;
  /** Time for which the machine can work from its buffer, ms; undefined while its rate is unknown. */
  readonly bufferMs: number | undefined;
  /** How often the stream was begun. */
  readonly sessions: number;
}

export interface EndedPrint {
  readonly object?: string | undefined;
  readonly at: number;
  /** Absent if it was completed. */
  readonly error?: MillraceError | undefined;
  /** Seconds during which the machine waited for content. */
  readonly starvedSeconds: number;
}

/** Keeps what an agent does at present, for people at the machine. */
export class Activity {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #driver: Pick<Driver, 'telemetry' | 'summary'>;
  readonly #connected: () => boolean;
  #step: AgentStep = 'machine';
  #problem: MillraceError | undefined;
  #print: { readonly record: () => RunRecord; readonly progress: Progress } | undefined;
  #last: EndedPrint | undefined;

  constructor(clock: Pick<Clock, 'now'>, driver: Pick<Driver, 'telemetry' | 'summary'>, connected: () => boolean) {
    this.#clock = clock;
    this.#driver = driver;
    this.#connected = connected;
  }

  step(step: AgentStep): void {
    this.#step = step;
    // Asking for work is the first step that shows that machine and cloud are there.
    if (step === 'work') this.#problem = undefined;
  }

  failed(error: unknown): void {
    this.#problem = toMillraceError(error);
  }

  printing(record: () => RunRecord, progress: Progress): void {
    this.#print = { record, progress };
  }

  /** @param error absent if the object was completed */
  ended(error?: MillraceError): void {
    const record = this.#print?.record();
    this.#last = {
      object: record?.object,
      at: this.#clock.now(),
      error,
      starvedSeconds: record?.started ? this.#driver.summary().starvedSeconds : 0,
    };
    this.#print = undefined;
  }

  status(): AgentStatus {
    const { state, pause, starved, temperatures } = this.#driver.telemetry();
    return {
      step: this.#step,
      connected: this.#connected(),
      machine: { state, starved, temperatures, ...(pause === undefined ? {} : { pause }) },
      problem: this.#problem,
      print: this.#printStatus(),
      last: this.#last,
    };
  }

  #printStatus(): PrintStatus | undefined {
    if (this.#print === undefined) return undefined;
    const { record, progress } = this.#print;
    const { startedAt, segments, got, taken, bufferMs, sessions } = progress;
    return { object: record().object, startedAt, segments, got, taken, bufferMs, sessions };
  }
}
