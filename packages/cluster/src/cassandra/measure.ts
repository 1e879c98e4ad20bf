import type { Clock, Counter, Gauge, Histogram, Metrics } from '@millrace/base';
import { cassandraError } from './errors.ts';

/** Measures the requests to a cluster: how long they take, which fail, how many wait for their turn. */
export class Measure {
  readonly #clock: Clock;
  readonly #seconds: Histogram;
  readonly #failures: Counter;
  readonly #waiting: Gauge;

  constructor({ clock, metrics }: { readonly clock: Clock; readonly metrics: Metrics }) {
    this.#clock = clock;
    this.#seconds = metrics.histogram('millrace_cassandra_seconds', 'time of Cassandra to answer a request, by level');
    this.#failures = metrics.counter('millrace_cassandra_failures_total', 'requests to Cassandra that failed, by code');
    this.#waiting = metrics.gauge('millrace_cassandra_waiting', 'requests that wait because many others are in flight');
    this.waiting(0);
  }

  /** @throws {MillraceError} see `cassandraError` */
  async request<T>(level: 'quorum' | 'serial', send: () => Promise<T>): Promise<T> {
    const began = this.#clock.monotonic();
    try {
      const result = await send();
      this.#seconds.observe((this.#clock.monotonic() - began) / 1_000, { level });
      return result;
    } catch (error) {
      const coded = cassandraError(error);
      this.#failures.add(1, { code: coded.code });
      throw coded;
    }
  }

  waiting(requests: number): void {
    this.#waiting.set(requests);
  }
}
