import { MillraceError } from '@millrace/base';
import {
  pick,
  type RehearsalView,
  requestRehearsal,
  type Session,
  verifyRehearsal,
  watchRehearsal,
} from '@millrace/client';
import { type Context, wholeNumber, withSession } from './context.ts';
import { machineId, machineName } from './machine-names.ts';

export interface RehearseOptions {
  readonly licence: string;
  readonly machine?: string;
  readonly within: string;
}

/** Exit code if the design does not fit. */
const DOES_NOT_FIT = 1;

/** Asks a machine whether the design of a licence fits it, and waits for its signed answer. */
export function rehearse(context: Context, options: RehearseOptions): Promise<number> {
  return withSession(context, 'operator', async (session) => {
    const licence = pick('licence', options.licence, await session.api.licences(), (view) => [view.licence]);
    const minutes = wholeNumber(options.within, '--within', 1, 10_080);
    const machine = await machineOf(session, licence.machines, options.machine);
    const rehearsal = await requestRehearsal(session, licence.licence, machine, minutes * 60_000);
    const view = await watchRehearsal(session, rehearsal);
    const signed = view.result === undefined ? undefined : await verifyRehearsal(session, view);
    const { state, outcome, rules = [], policy, code } = view;
    context.terminal.result(
      { rehearsal, licence: licence.licence, machine, state, outcome, rules, policy, code },
      `${machineName(session, machine)}: ${rehearsalText(view)}${signed === undefined ? '' : ' The machine has signed this.'}`,
    );
    return outcome === 'fits' ? 0 : DOES_NOT_FIT;
  });
}

/** What came of a rehearsal, as a sentence. */
export function rehearsalText({ state, outcome, rules = [], policy, code }: RehearsalView): string {
  const withoutPolicy =
    policy === false ? ' It has no safety policy: only kind, material and spool were compared.' : '';
  if (outcome === 'fits') return `the design fits.${withoutPolicy}`;
  if (outcome === 'does-not-fit') return `the design does not fit, because of: ${rules.join(', ')}.${withoutPolicy}`;
  if (state === 'queued') return 'waits for its machine.';
  return state === 'expired' ? 'the machine did not take it in time.' : `refused (${code}).`;
}

async function machineOf(session: Session, machines: readonly string[], name: string | undefined): Promise<string> {
  if (name !== undefined) return machineId(session, name);
  const [only, ...others] = machines;
  if (only !== undefined && others.length === 0) return only;
  throw new MillraceError('E_INPUT', 'the licence does not name exactly one machine: choose one with --machine');
}
