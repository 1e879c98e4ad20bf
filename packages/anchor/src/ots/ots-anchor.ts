import { equalBytes, MillraceError, type RandomSource, systemRandom, toHex } from '@millrace/base';
import { type Anchor, type AnchorProof, type AnchorStatement, checkpointDigest, type Head } from '../anchor.ts';
import { request } from '../http.ts';
import { type BlockHeaders, readBlockHeader } from './bitcoin.ts';
import {
  attestationsOf,
  decodeTimestamp,
  decodeTimestampFile,
  encodeTimestampFile,
  hideMessage,
  mergeTimestamps,
  replaceNodes,
  type Timestamp,
} from './timestamp.ts';

export interface OpenTimestampsOptions {
  /** Calendars to submit to. Only these are asked to complete a proof, whatever the proof names. */
  readonly calendars: readonly URL[];
  /** Number of calendars that must accept the digest. Default: one. */
  readonly quorum?: number;
  /** Source of Bitcoin block headers. Required to verify. */
  readonly headers?: BlockHeaders;
  /** The largest accepted target of a block. Default: difficulty 10^9. A test network needs 2^255. */
  readonly easiestTarget?: bigint;
  /** Timeout for one answer, ms. Default 10,000. */
  readonly timeoutMs?: number;
  /** How long requests to an unreachable calendar are retried, ms. Default 10,000. */
  readonly retryMs?: number;
  readonly random?: RandomSource;
}

const ACCEPT = 'application/vnd.opentimestamps.v1';
/** Maximum answer of a calendar, bytes. */
const MAX_ANSWER = 10_000;

/**
 * Anchors in Bitcoin blocks through OpenTimestamps calendars. A proof is a `.ots` file of the checkpoint's digest,
 * readable by the `ots` command. It is pending for some hours: `upgrade` it.
 */
export class OpenTimestampsAnchor implements Anchor {
  readonly kind = 'opentimestamps';
  readonly #options: OpenTimestampsOptions;

  constructor(options: OpenTimestampsOptions) {
    this.#options = options;
  }

  async submit(checkpoint: Head, account?: Uint8Array): Promise<AnchorProof> {
    if (account !== undefined) throw new MillraceError('E_INPUT', 'OpenTimestamps has no accounts');
    const { calendars, quorum = 1, random = systemRandom } = this.#options;
    const { hidden, wrap } = hideMessage(checkpointDigest(checkpoint), random(16));
    const answers = await Promise.allSettled(calendars.map((calendar) => this.#submitTo(calendar, hidden)));
    const taken = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    if (taken.length < Math.max(1, quorum)) {
      const causes = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason] : []));
      throw new MillraceError('E_UNAVAILABLE', `${taken.length} of ${calendars.length} calendars took the digest`, {
        cause: new AggregateError(causes),
      });
    }
    return this.#proof(wrap(mergeTimestamps(...taken)));
  }

  async upgrade(proof: AnchorProof, checkpoint: Head): Promise<AnchorProof> {
    const timestamp = this.#read(proof, checkpoint);
    const upgraded = await replaceNodes(timestamp, async (node) => {
      const later = await Promise.all(
        node.attestations.map((attestation) =>
          attestation.type === 'pending' ? this.#complete(attestation.calendar, node) : undefined,
        ),
      );
      const found = later.filter((one) => one !== undefined);
      return found.length === 0 ? undefined : mergeTimestamps(node, ...found);
    });
    return this.#proof(upgraded);
  }

  async verify(proof: AnchorProof, checkpoint: Head): Promise<AnchorStatement> {
    const { headers, easiestTarget } = this.#options;
    if (headers === undefined) throw new MillraceError('E_CONFIG', 'no source of Bitcoin block headers is configured');
    const attested = [...attestationsOf(this.#read(proof, checkpoint))];
    const blocks = attested.flatMap(({ message, attestation }) =>
      attestation.type === 'bitcoin' ? [{ message, height: attestation.height }] : [],
    );
    const earliest = blocks.sort((a, b) => a.height - b.height)[0];
    if (earliest === undefined) throw new MillraceError('E_ANCHOR', 'the timestamp is not in a block yet');
    const header = readBlockHeader(await headers(earliest.height), easiestTarget);
    if (!equalBytes(header.merkleRoot, earliest.message))
      throw new MillraceError('E_ANCHOR', `block ${earliest.height} does not hold the timestamp`);
    const place = `Bitcoin block ${earliest.height} (${toHex(header.hash)})`;
    return { kind: this.kind, time: header.time * 1_000, place };
  }

  #read(proof: AnchorProof, checkpoint: Head): Timestamp {
    if (proof.kind !== this.kind) throw new MillraceError('E_ANCHOR', `a proof of kind ${proof.kind}`);
    const timestamp = decodeTimestampFile(proof.bytes);
    if (equalBytes(timestamp.message, checkpointDigest(checkpoint))) return timestamp;
    throw new MillraceError('E_ANCHOR', 'the timestamp is of another checkpoint');
  }

  #proof(timestamp: Timestamp): AnchorProof {
    return { kind: this.kind, bytes: encodeTimestampFile(timestamp) };
  }

  async #submitTo(calendar: URL, digest: Uint8Array): Promise<Timestamp> {
    const { status, bytes } = await this.#ask(calendar, '/digest', digest);
    if (status !== 200) throw new MillraceError('E_ANCHOR', `${calendar.origin} refused the digest: ${status}`);
    return decodeTimestamp(bytes, Uint8Array.from(digest));
  }

  /** The calendar's current proof for a message. It may have nothing new, or be unreachable. */
  async #complete(address: string, { message }: Timestamp): Promise<Timestamp | undefined> {
    const calendar = this.#options.calendars.find(({ href }) => sameAddress(href, address));
    if (calendar === undefined) return undefined;
    const { status, bytes } = await this.#ask(calendar, `/timestamp/${toHex(message)}`);
    return status === 200 ? decodeTimestamp(bytes, message) : undefined;
  }

  #ask(calendar: URL, path: string, body?: Uint8Array) {
    const url = new URL(`${calendar.href.replace(/\/$/, '')}${path}`);
    const { timeoutMs = 10_000, retryMs = 10_000 } = this.#options;
    const headers = { accept: ACCEPT, 'user-agent': 'millrace' };
    return request(url, { headers, timeoutMs, retryMs, limit: MAX_ANSWER, ...(body && { method: 'POST', body }) });
  }
}

function sameAddress(one: string, other: string): boolean {
  return one.replace(/\/$/, '') === other.replace(/\/$/, '');
}
