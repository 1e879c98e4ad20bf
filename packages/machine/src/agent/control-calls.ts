import { controlRoutes, type rehearsalWork } from '@millrace/api';
import { type Bytes, decodeCbor, encodeCbor, MillraceError, parse } from '@millrace/base';
import {
  type Attested,
  type Machine,
  type MachineMembership,
  machineSchema,
  type OfferedSettings,
  type OfferedWatch,
  type SpoolProof,
  spoolProof,
  type VisitingSpool,
} from '@millrace/protocol';
import type { z } from 'zod';
import type { CloudLink } from './cloud-link.ts';
import type { Timing } from './timing.ts';

const { next, callHome, report, command, commanded, look, looked } = controlRoutes.machineCalls;
const { give } = controlRoutes.visas;
/** Routes by the name of the call on the link. */
const routes = { next, 'call-home': callHome, report, visa: give, command, commanded, look, looked } as const;
const { visitorCalls } = controlRoutes;

/** What the machine's own cloud gives it for a visit. */
export type VisaAnswer = z.output<typeof give.answer.schema>;
/** What the machine shows at the other cloud. */
export type Visa = Pick<VisaAnswer, 'visa' | 'request' | 'key'>;

/** Everything that authorises the stream, as received from control. */
export interface PermitAnswer {
  readonly permit: Uint8Array;
  readonly print: Uint8Array;
  readonly licence: Uint8Array;
  /** Credentials of the keys that signed the licence and the print. */
  readonly licenceSigner: Uint8Array;
  readonly printSigner: Uint8Array;
  /** The owner's credits, one for each object beyond those granted, up to this one. */
  readonly credits: readonly Attested[];
  /** Approvals, extensions and transfers of the licence. */
  readonly amendments: readonly Attested[];
  /** The design's core. */
  readonly core: Uint8Array;
  readonly machine: Machine;
  /** Proves that the machine is a member of a group of the licence. */
  readonly membership?: MachineMembership | undefined;
  /** At another cloud: credentials there of the keys that signed for the spool of this machine. */
  readonly signers?: VisitingSpool['signers'];
}

/** A rehearsal as control gives it: nothing in it is verified. */
export interface RehearsalWork {
  readonly rehearsal: string;
  readonly request: Attested;
  readonly licence: Attested;
  readonly amendments: readonly Attested[];
  readonly core: Uint8Array;
  readonly envelope: Uint8Array;
  readonly machine: Machine;
  readonly membership?: MachineMembership | undefined;
  /** What is left on the loaded spool, g. */
  readonly left?: number | undefined;
}

/** A rehearsal, which comes before other work. */
export interface NextRehearsal {
  readonly rehearsal: RehearsalWork;
  readonly spool: SpoolProof | undefined;
}

/** Settings as control gives them. */
export interface SettingsWork extends OfferedSettings {
  readonly machine: Machine;
}

/** Settings that the machine's organisation has signed. They come before other work. */
export interface NextSettings {
  readonly settings: SettingsWork;
  readonly spool: SpoolProof | undefined;
}

/** The oldest work for the machine: a print of its cloud, or one of another cloud with the visit there. */
export interface NextPrint {
  readonly print: string;
  readonly visit?: { readonly visit: string; readonly cloud: string } | undefined;
  readonly spool: SpoolProof | undefined;
}

/** Calls about signed commands for the print that the machine makes. */
export interface CommandCalls {
  /** Waits up to `Timing.waitMs` for a command; undefined if none came. Nothing in it is verified. */
  command(print: string, signal: AbortSignal): Promise<Attested | undefined>;
  /** What became of it. @param id of the command @param refusal absent if the machine has obeyed */
  commanded(id: string, refusal: MillraceError | undefined, signal: AbortSignal): Promise<void>;
}

/** A request for a picture as control gives it: nothing in it is verified. */
export interface Look extends OfferedWatch {
  /** Control's number of this request, 32 hexadecimal digits. */
  readonly look: string;
  /** Of the viewer, 32 hexadecimal digits. */
  readonly nonce: string;
  readonly machine: Machine;
}

/** Calls of a machine with a camera. */
export interface LookCalls {
  /** Waits up to `Timing.waitMs` until somebody looks; undefined if nobody did. */
  look(signal: AbortSignal): Promise<Look | undefined>;
  /** @param given the sealed picture, or why there is none */
  looked(id: string, given: Bytes | MillraceError, signal: AbortSignal): Promise<void>;
}

/** The agent's calls to control over its link (spec/protocol.md, 3). */
export interface ControlCalls extends CommandCalls, LookCalls {
  /**
   * Waits up to `Timing.waitMs` for work, which comes with the loaded spool; undefined if none came.
   * @param licence only prints of its job package; by default only those that are made without one
   */
  next(signal: AbortSignal, licence?: string): Promise<NextPrint | NextRehearsal | NextSettings | undefined>;
  /** Waits up to `Timing.waitMs` for a rehearsal, while a driver has no package. */
  rehearsal(signal: AbortSignal): Promise<NextRehearsal | undefined>;
  visa(request: Bytes, signal: AbortSignal): Promise<VisaAnswer>;
  callHome(request: Bytes, signal: AbortSignal): Promise<PermitAnswer>;
  report(report: Uint8Array, signal: AbortSignal): Promise<void>;
}

const answer = <S extends z.ZodType>(schema: S, reply: Bytes): z.output<S> =>
  parse(schema, decodeCbor(reply, 'answer of control'), 'answer of control');

const permitAnswer = (reply: Bytes): PermitAnswer => {
  const { machine, ...permitted } = answer(callHome.answer.schema, reply);
  return { ...permitted, machine: parse(machineSchema, machine, 'machine') };
};

export function createControlCalls(link: CloudLink, timing: Timing): ControlCalls {
  /** @returns the answer, encoded as CBOR */
  const call = <M extends keyof typeof routes>(
    method: M,
    body: z.input<(typeof routes)[M]['body']['schema']>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Bytes> => link.call(method, encodeCbor(body), { timeoutMs, signal });
  const ask = async (asked: z.input<typeof next.body.schema>, signal: AbortSignal) => {
    const reply = await call('next', asked, asked.wait + timing.callMs, signal);
    const { spool, ...work } = answer(next.answer.schema, reply);
    return { ...work, loaded: spool && parse(spoolProof, spool, 'loaded spool') };
  };
  const rehearsalOf = (work: z.output<typeof rehearsalWork>, spool: SpoolProof | undefined): NextRehearsal => {
    return { rehearsal: { ...work, machine: parse(machineSchema, work.machine, 'machine') }, spool };
  };
  return {
    rehearsal: async (signal) => {
      const { rehearsal, loaded } = await ask({ wait: timing.waitMs, rehearsals: true }, signal);
      return rehearsal && rehearsalOf(rehearsal, loaded);
    },
    next: async (signal, licence) => {
      // A driver knows whether a print was ordered.
      const asked = licence === undefined ? { wait: timing.waitMs } : { wait: 0, package: licence };
      const { print, visit, rehearsal, settings, loaded } = await ask(asked, signal);
      if (settings !== undefined) {
        const machine = parse(machineSchema, settings.machine, 'machine');
        return { settings: { ...settings, machine }, spool: loaded };
      }
      if (rehearsal !== undefined) return rehearsalOf(rehearsal, loaded);
      if (visit !== undefined) {
        const { print: foreign, ...named } = visit;
        return { print: foreign, visit: named, spool: loaded };
      }
      return print === undefined ? undefined : { print, spool: loaded };
    },
    visa: async (request, signal) => answer(give.answer.schema, await call('visa', { request }, timing.callMs, signal)),
    callHome: async (request, signal) => permitAnswer(await call('call-home', { request }, timing.callMs, signal)),
    command: async (print, signal) => {
      const { waitMs: wait, callMs } = timing;
      return answer(command.answer.schema, await call('command', { wait, print }, wait + callMs, signal)).command;
    },
    commanded: async (id, refusal, signal) => {
      const body = refusal === undefined ? { command: id } : { command: id, refusal: told(refusal) };
      answer(commanded.answer.schema, await call('commanded', body, timing.callMs, signal));
    },
    look: async (signal) => {
      const { waitMs: wait, callMs } = timing;
      const { look: asked } = answer(look.answer.schema, await call('look', { wait }, wait + callMs, signal));
      return asked && { ...asked, machine: parse(machineSchema, asked.machine, 'machine') };
    },
    looked: async (id, given, signal) => {
      const body = given instanceof MillraceError ? { look: id, refusal: told(given) } : { look: id, picture: given };
      answer(looked.answer.schema, await call('looked', body, timing.callMs, signal));
    },
    report: async (signed, signal) => {
      answer(report.answer.schema, await call('report', { report: signed }, timing.callMs, signal));
    },
  };
}

/** The calls of a visiting machine. @param visit what it shows; needed to call home only */
export function createVisitorCalls(
  link: CloudLink,
  timing: Timing,
  visit?: Visa,
): Pick<ControlCalls, 'callHome' | 'report'> {
  const { callMs: timeoutMs } = timing;
  return {
    callHome: async (request, signal) => {
      if (visit === undefined) throw new MillraceError('E_VISA', 'there is no visa');
      const body: z.input<typeof visitorCalls.callHome.body.schema> = { request, visit };
      return permitAnswer(await link.call('call-home', encodeCbor(body), { timeoutMs, signal }));
    },
    report: async (signed, signal) => {
      const body: z.input<typeof visitorCalls.report.body.schema> = { report: signed };
      answer(visitorCalls.report.answer.schema, await link.call('report', encodeCbor(body), { timeoutMs, signal }));
    },
  };
}

const told = ({ code, message }: MillraceError) => ({ code, message: message.slice(0, 500) });

/** Whether the same call may succeed later: the error is not a decision. */
export function isPassing(error: unknown): error is MillraceError {
  return error instanceof MillraceError && (error.retryable || error.code === 'E_INTERNAL');
}
