/** Names of a measurement's dimensions and their values, such as `{ role: 'keys' }`. */
export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  /** @param by at least 0; 1 when omitted */
  add(by?: number, labels?: Labels): void;
}

export interface Gauge {
  set(value: number, labels?: Labels): void;
}

export interface Histogram {
  observe(value: number, labels?: Labels): void;
}

/**
 * Metrics of a process. Names follow Prometheus (`millrace_mail_refused_total`); the unit is part of the name.
 * Requesting a name again returns the same instrument. Code with this port writes metrics and never reads them.
 */
export interface Metrics {
  counter(name: string, help: string): Counter;
  gauge(name: string, help: string): Gauge;
  histogram(name: string, help: string): Histogram;
}

/** Metrics that a process exports. */
export interface ReadableMetrics extends Metrics {
  /** All series written at least once. */
  samples(): Sample[];
}

const ignore = () => undefined;

/** Discards all measurements. */
export const noMetrics: ReadableMetrics = {
  counter: () => ({ add: ignore }),
  gauge: () => ({ set: ignore }),
  histogram: () => ({ observe: ignore }),
  samples: () => [],
};

export type MetricKind = 'counter' | 'gauge' | 'histogram';

/** One measurement: `count` is the number of observations of a histogram, `value` their sum. */
export interface Sample {
  readonly name: string;
  readonly kind: MetricKind;
  readonly help: string;
  readonly labels: Labels;
  readonly value: number;
  readonly count: number;
}

interface Series {
  readonly labels: Labels;
  value: number;
  count: number;
}

/** Keeps all series in memory, for tests and exporters. */
export class MemoryMetrics implements ReadableMetrics {
  readonly #instruments = new Map<
    string,
    { readonly kind: MetricKind; readonly help: string; readonly series: Map<string, Series> }
  >();

  counter(name: string, help: string): Counter {
    const at = this.#instrument(name, 'counter', help);
    return {
      add: (by = 1, labels = {}) => {
        if (!(by >= 0)) throw new RangeError(`${name}: a counter cannot decrease`);
        const series = at(labels);
        series.value += by;
        series.count++;
      },
    };
  }

  gauge(name: string, help: string): Gauge {
    const at = this.#instrument(name, 'gauge', help);
    return {
      set: (value, labels = {}) => {
        const series = at(labels);
        series.value = value;
        series.count++;
      },
    };
  }

  histogram(name: string, help: string): Histogram {
    const at = this.#instrument(name, 'histogram', help);
    return {
      observe: (value, labels = {}) => {
        const series = at(labels);
        series.value += value;
        series.count++;
      },
    };
  }

  samples(): Sample[] {
    return [...this.#instruments].flatMap(([name, { kind, help, series }]) =>
      [...series.values()].map(({ labels, value, count }) => ({ name, kind, help, labels, value, count })),
    );
  }

  /** Value of one series; undefined if it was never written. */
  value(name: string, labels: Labels = {}): number | undefined {
    return this.#instruments.get(name)?.series.get(keyOf(labels))?.value;
  }

  /** @throws {RangeError} if the name is in use for another kind */
  #instrument(name: string, kind: MetricKind, help: string): (labels: Labels) => Series {
    const known = this.#instruments.get(name) ?? { kind, help, series: new Map<string, Series>() };
    if (known.kind !== kind) throw new RangeError(`${name} is a ${known.kind}`);
    this.#instruments.set(name, known);
    return (labels) => {
      const key = keyOf(labels);
      const series = known.series.get(key) ?? { labels, value: 0, count: 0 };
      known.series.set(key, series);
      return series;
    };
  }
}

function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}
