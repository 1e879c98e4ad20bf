import { controlRoutes } from '@millrace/api';
import { type Bytes, decodeCbor, encodeCbor, MillraceError, parse } from '@millrace/base';
import { type Machine, machineSchema } from '@millrace/protocol';
import type { z } from 'zod';
import type { CloudLink } from './cloud-link.ts';
import type { Timing } from './timing.ts';

const { next, callHome, report } = controlRoutes.machineCalls;
/** Routes by the name of the call on the link. */
const routes = { next, 'call-home': callHome, report } as const;

/** Everything that authorises the stream, as received from control. */
export interface PermitAnswer {
  readonly permit: Uint8Array;
  readonly print: Uint8Array;
  readonly licence: Uint8Array;
  readonly machine: Machine;
  /** The administrator's registration of the design's owner. */
  readonly owner: Uint8Array;
}

/** The agent's calls to control over its link (spec/protocol.md, 3). */
export interface ControlCalls {
  /** Waits up to `Timing.waitMs` for a print; undefined if none came. */
  next(signal: AbortSignal): Promise<string | undefined>;
  callHome(request: Bytes, signal: AbortSignal): Promise<PermitAnswer>;
  report(report: Uint8Array, signal: AbortSignal): Promise<void>;
}

export function createControlCalls(link: CloudLink, timing: Timing): ControlCalls {
  /** @returns the answer, encoded as CBOR */
  const call = <M extends keyof typeof routes>(
    method: M,
    body: z.input<(typeof routes)[M]['body']['schema']>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Bytes> => link.call(method, encodeCbor(body), { timeoutMs, signal });
  const answer = <S extends z.ZodType>(schema: S, reply: Bytes): z.output<S> =>
    parse(schema, decodeCbor(reply, 'answer of control'), 'answer of control');
  return {
    next: async (signal) => {
      const wait = timing.waitMs;
      return answer(next.answer.schema, await call('next', { wait }, wait + timing.callMs, signal)).print;
    },
    callHome: async (request, signal) => {
      const reply = await call('call-home', { request }, timing.callMs, signal);
      const { machine, ...permitted } = answer(callHome.answer.schema, reply);
      return { ...permitted, machine: parse(machineSchema, machine, 'machine') };
    },
    report: async (signed, signal) => {
      answer(report.answer.schema, await call('report', { report: signed }, timing.callMs, signal));
    },
  };
}

/** Whether the same call may succeed later: the error is not a decision. */
export function isPassing(error: unknown): error is MillraceError {
  return error instanceof MillraceError && (error.retryable || error.code === 'E_INTERNAL');
}
