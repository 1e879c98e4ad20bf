import { type Row, rowOf } from './bench.ts';

// Table 2 of the paper, its money computed again with its own prices. Its traffic column is in Gibit: 20 MiB in hashes of 32
// bytes for 3 are 213 MiB, 1.67 Gibit, and its cost is that number times the price of a gigabyte.

/** Of 100 million hashes a second for an hour. */
const PRICE_HASHING = 0.05 / (100e6 * 3_600);
const PRICE_GB = 0.087;
const FILE = 20 * 2 ** 20;
const PAPER_HASH_BYTES = 32;
const SEGMENT_BYTES = 3;
const MATRIX = 256 ** 3;

/**
 * @param overhead frame bytes for a cell byte at order 24
 * @param hashesPerCell that the sender computes for one cell of `cellBytes`
 * @param revisionSeconds how long a table lives; the receiver computes all of it
 * @param bytesPerSecond how fast the machine draws: it says for how many revisions the 20 MiB last
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
    one('20 MiB as in table 2: traffic printed (it says GB)', 'Gibit', (paperBytes * 8) / 2 ** 30),
    one('20 MiB as in table 2: traffic in truth', 'GB', paperBytes / 1e9),
    one('20 MiB as in table 2: cost printed', '$', 0.1457),
    one('20 MiB as in table 2: cost of that traffic at its price', '$', (paperBytes / 1e9) * PRICE_GB),
    one('20 MiB here, order 24 dense: traffic', 'GB', bytes / 1e9),
    one('20 MiB here, order 24 dense: cost of the traffic at its price', '$', (bytes / 1e9) * PRICE_GB),
    one('20 MiB here: cost of the sender’s hashes at its price', '$', sent * PRICE_HASHING),
    one(
      `20 MiB here: cost of the receiver’s tables at its price (${bytesPerSecond / 1_000} kB/s, ${revisionSeconds} s each)`,
      '$',
      revisions * MATRIX * PRICE_HASHING,
    ),
  ];
}
