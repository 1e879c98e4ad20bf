import { exponential, Station, seeded, Timeline } from './events.ts';

export interface PermitOptions {
  /** Permits a second, at random times. */
  readonly rate: number;
  /** Processor time of a permit, s, and the cores that work on permits. */
  readonly permit: number;
  readonly cores: number;
  /** Entries of the ledger that a permit waits for; processor time of each, and of a commit, s. */
  readonly entries: number;
  readonly append: number;
  readonly commit: number;
  /** Most entries of one commit. */
  readonly batch: number;
  /** Simulated time, s. */
  readonly seconds: number;
  readonly seed: number;
}

export interface PermitOutcome {
  readonly permits: number;
  /** Seconds from the request to the answer. */
  readonly mean: number;
  readonly p99: number;
  /** Busy share of the cores, and of the ledger's writer. */
  readonly cores: number;
  readonly writer: number;
  /** Mean number of entries of a commit. */
  readonly perCommit: number;
  /** Permits that were still waiting at the end. */
  readonly waiting: number;
}

/** Permits: each takes a core, then waits for the commit of its entries by the ledger's one writer. */
export function simulatePermits(options: PermitOptions): PermitOutcome {
  const { rate, permit, cores, entries, append, commit, batch, seconds, seed } = options;
  const [timeline, random] = [new Timeline(), seeded(seed)];
  const station = new Station(timeline, cores);
  const latencies: number[] = [];
  let arrived = 0;
  const queue: (() => void)[] = [];
  let writing = false;
  let [writer, commits, committed] = [0, 0, 0];
  const write = (): void => {
    if (writing || queue.length === 0) return;
    writing = true;
    const permits = Math.max(1, Math.floor(batch / entries));
    const now = queue.splice(0, permits);
    const time = commit + now.length * entries * append;
    writer += time;
    commits++;
    committed += now.length * entries;
    timeline.after(time, () => {
      writing = false;
      for (const done of now) done();
      write();
    });
  };
  const arrive = (): void => {
    arrived++;
    const began = timeline.now;
    station.serve(permit, () => {
      queue.push(() => void latencies.push(timeline.now - began));
      write();
    });
    timeline.after(exponential(random, rate), arrive);
  };
  timeline.after(exponential(random, rate), arrive);
  timeline.run(seconds);
  const sorted = Float64Array.from(latencies).sort();
  return {
    permits: latencies.length,
    mean: latencies.reduce((sum, one) => sum + one, 0) / latencies.length,
    p99: sorted[Math.floor(0.99 * sorted.length)] ?? Number.NaN,
    cores: station.busy / (cores * seconds),
    writer: writer / seconds,
    perCommit: committed / commits,
    waiting: arrived - latencies.length,
  };
}

/** Mean wait in the queue of one server with random arrivals and a fixed service time, s (Pollaczek, Khinchine). */
export function meanWait(rate: number, service: number): number {
  const load = rate * service;
  return (load * service) / (2 * (1 - load));
}

export interface SweepOptions {
  /** Bytes of cells, and of one step. */
  readonly cells: number;
  readonly step: number;
  readonly lanes: number;
  /** Segments nodes; bytes that each renews a second. */
  readonly members: number;
  readonly renewed: number;
  /** Time of the keys node for a step, s: it is one process. */
  readonly plan: number;
  /** Time for a message there and back, s. */
  readonly roundTrip: number;
  /** A member that ends, s after the beginning, and the time until its lanes go to others, s. */
  readonly loss?: { readonly at: number; readonly pause: number };
}

/**
 * One sweep: a lane's steps follow one another; the keys node plans a step, a member renews it. Lanes are taken by the
 * members in turn. @returns seconds
 */
export function simulateSweep(options: SweepOptions): number {
  const { cells, step, lanes, members, renewed, plan, roundTrip, loss } = options;
  const timeline = new Timeline();
  const keys = new Station(timeline, 1);
  const nodes = Array.from({ length: members }, () => new Station(timeline, 1));
  let lost = false;
  let end = 0;
  const memberOf = (lane: number): Station | undefined => {
    if (!lost) return nodes[lane % members];
    return nodes[1 + (lane % (members - 1))];
  };
  const lane = (number: number, left: number): void => {
    if (left <= 0) {
      end = Math.max(end, timeline.now);
      return;
    }
    keys.serve(plan, () => {
      timeline.after(roundTrip, () => {
        const first = !lost && number % members === 0;
        memberOf(number)?.serve(Math.min(step, left) / renewed, () => {
          // A step of the member that ended is repeated by another, after the pause.
          if (first && lost && loss !== undefined) {
            const wait = Math.max(0, loss.at + loss.pause - timeline.now);
            timeline.after(wait, () => lane(number, left));
          } else lane(number, left - step);
        });
      });
    });
  };
  if (loss !== undefined && members > 1)
    timeline.after(loss.at, () => {
      lost = true;
    });
  for (let number = 0; number < lanes; number++) lane(number, cells / lanes);
  timeline.run();
  return end;
}

/** The same by arithmetic: the slower of the members together and of the keys node, s. */
export function sweepTime({ cells, step, members, renewed, plan }: SweepOptions): number {
  return Math.max(cells / (members * renewed), (cells / step) * plan);
}
