import { type Bytes, decodeCbor, encodeCbor, hexOf, MillraceError, parse } from '@millrace/base';
import { type Machine, machineSchema } from '@millrace/protocol';
import { z } from 'zod';
import type { CloudLink } from './cloud-link.ts';
import type { Timing } from './timing.ts';

const bytes = z.instanceof(Uint8Array);

const nextSchema = z.strictObject({
  /** The print that waits for this machine; absent when there is none yet. */
  print: hexOf(16).optional(),
  material: z.string().optional(),
  from: z.number().int().nonnegative().optional(),
});
const callHomeSchema = z.strictObject({
  permit: bytes,
  print: bytes,
  licence: bytes,
  machine: machineSchema,
  owner: bytes,
});
const reportSchema = z.strictObject({});

/** Everything that authorises the stream, as control hands it to the machine. */
export interface PermitAnswer {
  readonly permit: Uint8Array;
  readonly print: Uint8Array;
  readonly licence: Uint8Array;
  readonly machine: Machine;
  /** The administrator's registration of the design's owner. */
  readonly owner: Uint8Array;
}

/** What the agent asks of control, over its link (spec/protocol.md, 3). */
export interface ControlCalls {
  /** Waits up to `Timing.waitMs` for a print; undefined when there is none. */
  next(signal: AbortSignal): Promise<string | undefined>;
  callHome(request: Bytes, signal: AbortSignal): Promise<PermitAnswer>;
  report(report: Uint8Array, signal: AbortSignal): Promise<void>;
}

export function createControlCalls(link: CloudLink, timing: Timing): ControlCalls {
  const call = async <S extends z.ZodType>(
    method: 'next' | 'call-home' | 'report',
    body: Parameters<typeof encodeCbor>[0],
    answer: S,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<z.output<S>> => {
    const reply = await link.call(method, encodeCbor(body), { timeoutMs, signal });
    return parse(answer, decodeCbor(reply, `answer to ${method}`), `answer to ${method}`);
  };
  return {
    next: async (signal) => {
      const wait = timing.waitMs;
      return (await call('next', { wait }, nextSchema, wait + timing.callMs, signal)).print;
    },
    callHome: (request, signal) => call('call-home', { request }, callHomeSchema, timing.callMs, signal),
    report: async (report, signal) => {
      await call('report', { report }, reportSchema, timing.callMs, signal);
    },
  };
}

/** Whether the same call may succeed later: nobody has decided anything yet. */
export function isPassing(error: unknown): error is MillraceError {
  return error instanceof MillraceError && (error.retryable || error.code === 'E_INTERNAL');
}
