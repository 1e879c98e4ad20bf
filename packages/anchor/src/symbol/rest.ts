import { MillraceError, parse } from '@millrace/base';
import { z } from 'zod';
import { request } from '../http.ts';
import { jsonOf } from '../json.ts';
import { ADDRESS_BYTES, MAX_MESSAGE } from './transfer.ts';

/** Maximum answer, bytes. The largest is a transfer with a message of 1 KiB, in hexadecimal digits. */
const MAX_ANSWER = 64 * 1024;

const uint64 = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,19})$/)
  .transform((text) => BigInt(text))
  .refine((value) => value < 1n << 64n);

const hexOf = (length: number) =>
  z
    .string()
    .regex(new RegExp(`^[0-9a-fA-F]{${2 * length}}$`))
    .transform((text) => text.toLowerCase());

const multiplier = z.int().min(0).max(0xffff_ffff);

// Nodes add fields from time to time, so unknown ones are ignored.
const feesSchema = z.object({ medianFeeMultiplier: multiplier, minFeeMultiplier: multiplier });

const statusSchema = z.object({
  group: z.enum(['unconfirmed', 'confirmed', 'failed', 'partial']),
  /** Reason of a failure. */
  code: z
    .string()
    .regex(/^\w{1,100}$/)
    .optional(),
  hash: hexOf(32),
  height: uint64.optional(),
});
export type SymbolStatus = z.output<typeof statusSchema>;

const confirmedSchema = z.object({
  meta: z.object({ height: uint64, hash: hexOf(32) }),
  transaction: z.object({
    signature: hexOf(64),
    signerPublicKey: hexOf(32),
    version: z.literal(1),
    network: z.int().min(0).max(255),
    type: z.literal(0x4154),
    maxFee: uint64,
    deadline: uint64,
    recipientAddress: hexOf(ADDRESS_BYTES),
    message: z
      .string()
      .max(2 * MAX_MESSAGE)
      .regex(/^([0-9a-fA-F]{2})*$/)
      .optional(),
    mosaics: z.array(z.unknown()).max(0),
  }),
});
export type SymbolConfirmed = z.output<typeof confirmedSchema>;

const blockSchema = z.object({
  block: z.object({ height: uint64, timestamp: uint64, transactionsHash: hexOf(32) }),
});

const pathSchema = z.object({
  merklePath: z.array(z.object({ hash: hexOf(32), position: z.enum(['left', 'right']) })).max(32),
});
export type SymbolPath = z.output<typeof pathSchema>['merklePath'];

const chainSchema = z.object({ height: uint64, latestFinalizedBlock: z.object({ height: uint64 }) });

/** The requests to a Symbol node that an anchor needs (https://symbol.github.io/symbol-openapi). */
export class SymbolRest {
  readonly #base: URL;
  readonly #timeoutMs: number;

  constructor(base: URL, timeoutMs: number) {
    this.#base = base;
    this.#timeoutMs = timeoutMs;
  }

  /** Announces a transaction. The node answers before it has checked it. @throws {MillraceError} E_ANCHOR */
  async announce(transaction: string): Promise<void> {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ payload: transaction.toUpperCase() });
    const { status } = await this.#request('/transactions', { method: 'PUT', headers, body });
    if (status !== 202 && status !== 200)
      throw new MillraceError('E_ANCHOR', `the Symbol node refused the transaction: it answered ${status}`);
  }

  fees = () => this.#require('/network/fees/transaction', feesSchema);

  /** @returns undefined if the node does not know the transaction */
  status = (hash: string) => this.#get(`/transactionStatus/${hash}`, statusSchema);

  confirmed = (hash: string) => this.#require(`/transactions/confirmed/${hash}`, confirmedSchema);

  block = async (height: bigint) => (await this.#require(`/blocks/${height}`, blockSchema)).block;

  path = async (height: bigint, hash: string) =>
    (await this.#require(`/blocks/${height}/transactions/${hash}/merkle`, pathSchema)).merklePath;

  chain = () => this.#require('/chain/info', chainSchema);

  async #require<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>> {
    const answer = await this.#get(path, schema);
    if (answer === undefined) throw new MillraceError('E_ANCHOR', `the Symbol node has no ${path}`);
    return answer;
  }

  async #get<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S> | undefined> {
    const { status, bytes } = await this.#request(path, {});
    if (status === 404) return undefined;
    if (status !== 200) throw new MillraceError('E_ANCHOR', `the Symbol node answered ${status} to ${path}`);
    return parse(schema, jsonOf(bytes, 'the answer of the Symbol node'), `answer to ${path}`, 'E_ANCHOR');
  }

  #request(path: string, options: Pick<Parameters<typeof request>[1], 'method' | 'headers' | 'body'>) {
    const url = new URL(`${this.#base.href.replace(/\/$/, '')}${path}`);
    return request(url, { ...options, timeoutMs: this.#timeoutMs, retryMs: this.#timeoutMs, limit: MAX_ANSWER });
  }
}
