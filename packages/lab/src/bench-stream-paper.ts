import { type Row, rowOf } from './bench.ts';

// Table 2 of the paper, with the cost recomputed from its own prices. Its traffic column is in Gibit: 20 MiB as hashes
// of 32 bytes for every 3 bytes are 213 MiB = 1.67 Gibit, and its cost is that number times the price of a gigabyte.

/** Price of 100 million hashes per second for an hour. */
const PRICE_HASHING = 0.05 / (100e6 * 3_600);
const PRICE_GB = 0.087;
const FILE = 20 * 2 ** 20;
const PAPER_HASH_BYTES = 32;
const SEGMENT_BYTES = 3;
const MATRIX = 256 ** 3;

/**
 * @param overhead frame bytes per cell byte at order 24
 * @param hashesPerCell hashes that the sender computes for a cell of `cellBytes`
 * @param revisionSeconds lifetime of a table, all of which the receiver computes
 * @param bytesPerSecond consumption of the machine, which gives the number of revisions for 20 MiB
 */
export function paperRows(options: {
  readonly overhead: number;
  readonly hashesPerCell: number;
  readonly cellBytes: number;
  readonly revisionSeconds: number;
  readonly bytesPerSecond: number;
}): Row[] {
  const { overhead, hashesPerCell, cellBytes, revisionSeconds, bytesPerSecond } = options;
  const paperBytes = (FILE / SEGMENT_BYTES) * PAPER_HASH_BYTES;
  const bytes = FILE * overhead;
  const sent = (FILE / cellBytes) * hashesPerCell;
  const revisions = FILE / bytesPerSecond / revisionSeconds;
  const one = (name: string, unit: string, figure: number) => rowOf(name, unit, [figure]);
  return [
    one('20 MiB as in table 2: traffic as printed (in GB)', 'Gibit', (paperBytes * 8) / 2 ** 30),
    one('20 MiB as in table 2: actual traffic', 'GB', paperBytes / 1e9),
    one('20 MiB as in table 2: cost as printed', '$', 0.1457),
    one('20 MiB as in table 2: cost of the actual traffic at the same price', '$', (paperBytes / 1e9) * PRICE_GB),
    one('20 MiB here, order 24 dense: traffic', 'GB', bytes / 1e9),
    one('20 MiB here, order 24 dense: cost of the traffic at the same price', '$', (bytes / 1e9) * PRICE_GB),
    one('20 MiB here: cost of the sender’s hashes at the same price', '$', sent * PRICE_HASHING),
    one(
      `20 MiB here: cost of the receiver’s tables at the same price (${bytesPerSecond / 1_000} kB/s, ${revisionSeconds} s each)`,
      '$',
      revisions * MATRIX * PRICE_HASHING,
    ),
  ];
}
