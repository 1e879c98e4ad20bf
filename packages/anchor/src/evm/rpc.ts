import { MillraceError, parse } from '@millrace/base';
import { z } from 'zod';
import { request } from '../http.ts';
import { jsonOf } from '../json.ts';

/** Maximum answer, bytes: a receipt with the events of one call. */
const MAX_ANSWER = 1024 * 1024;

const answerSchema = z.union([
  z.object({ result: z.unknown(), error: z.undefined().optional() }),
  z.object({ error: z.object({ code: z.number(), message: z.string(), data: z.unknown().optional() }) }),
]);

/** Ethereum's JSON-RPC over HTTP (https://ethereum.github.io/execution-apis). */
export class EvmRpc {
  readonly #url: URL;
  readonly #timeoutMs: number;
  #id = 0;

  constructor(url: URL, timeoutMs: number) {
    this.#url = url;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws {MillraceError} E_ANCHOR if the node refuses, E_UNAVAILABLE, E_TIMEOUT, E_TOO_LARGE */
  async call<S extends z.ZodType>(method: string, params: readonly unknown[], schema: S): Promise<z.output<S>> {
    const body = JSON.stringify({ jsonrpc: '2.0', id: ++this.#id, method, params });
    const headers = { 'content-type': 'application/json' };
    const options = {
      method: 'POST',
      headers,
      body,
      timeoutMs: this.#timeoutMs,
      retryMs: this.#timeoutMs,
      limit: MAX_ANSWER,
    } as const;
    const { status, bytes } = await request(this.#url, options);
    const answer = parse(
      answerSchema,
      jsonOf(bytes, 'the answer of the chain'),
      `answer ${status} to ${method}`,
      'E_ANCHOR',
    );
    if (answer.error !== undefined) {
      const { code, message, data } = answer.error;
      throw new MillraceError('E_ANCHOR', `the chain refused ${method}: ${message}`, { data: { code, revert: data } });
    }
    return parse(schema, 'result' in answer ? answer.result : undefined, `result of ${method}`, 'E_ANCHOR');
  }
}

/** An integer as encoded in JSON-RPC. */
export const quantity = z
  .string()
  .regex(/^0x(0|[1-9a-f][0-9a-f]*)$/)
  .transform((text) => BigInt(text));

/** Bytes as encoded in JSON-RPC. */
export const data = z.string().regex(/^0x([0-9a-f]{2})*$/i);

export const toQuantity = (value: bigint | number): string => `0x${value.toString(16)}`;
