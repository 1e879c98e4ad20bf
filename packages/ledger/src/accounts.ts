import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import type { EventType } from './event.ts';
import type { LoggedEvent } from './opening.ts';

/** Kind of an account, determined by the type of its first event. */
export type AccountKind = 'object' | 'licence' | 'machine' | 'material' | 'design' | 'map';

/** State of an account after its last event. */
export interface AccountHead {
  readonly account: string;
  readonly kind: AccountKind;
  readonly state: string;
  /** Sequence, log index and hash of the last event. */
  readonly sequence: number;
  readonly index: number;
  readonly hash: Bytes;
}

type Rules = Readonly<Record<string, Partial<Record<EventType, string>>>>;

const openedBy: Partial<Record<EventType, AccountKind>> = {
  ordered: 'object',
  licensed: 'licence',
  machine: 'machine',
  material: 'material',
  stored: 'design',
  mapped: 'map',
};

/** Allowed events in each state, and the state after each. `open` and `retired` are ordinary states. */
const rules: Readonly<Record<AccountKind, Rules>> = {
  object: withAnywhere(
    {
      ordered: { licensed: 'licensed', permitted: 'permitted' },
      licensed: { permitted: 'permitted' },
      // A start report can be lost with the link. The end of the print is valid without it.
      permitted: {
        started: 'started',
        completed: 'completed',
        failed: 'failed',
        alarmed: 'alarmed',
        inspected: 'permitted',
        // The print expired before its machine began.
        credited: 'credited',
      },
      started: { progressed: 'started', completed: 'completed', failed: 'failed', alarmed: 'alarmed' },
      // Stays alarmed until it fails or the owner credits it. A completion reported by the machine does not count.
      alarmed: {
        progressed: 'alarmed',
        alarmed: 'alarmed',
        inspected: 'alarmed',
        failed: 'failed',
        credited: 'credited',
      },
      // An alarm may arrive after the end of the print.
      completed: { inspected: 'completed', alarmed: 'completed', credited: 'credited' },
      failed: { inspected: 'failed', alarmed: 'failed', credited: 'credited' },
      // Another object is made in its place. Reports that the machine signed before may arrive later; a completion does
      // not count.
      credited: {
        started: 'credited',
        progressed: 'credited',
        failed: 'credited',
        alarmed: 'credited',
        inspected: 'credited',
      },
    },
    ['transferred', 'machine', 'material'],
  ),
  licence: withAnywhere({ open: {} }, ['permitted', 'credited', 'alarmed', 'inspected', 'transferred']),
  machine: withAnywhere({ open: {} }, ['machine', 'material', 'inspected', 'alarmed', 'failed', 'transferred']),
  material: withAnywhere({ open: {} }, ['material', 'inspected', 'transferred']),
  design: withAnywhere({ open: {} }, ['stored', 'licensed', 'alarmed', 'transferred']),
  map: { open: { mapped: 'open' } },
};

/** Adds to every state the events that do not change it, and `retired`, which is final. */
function withAnywhere(states: Rules, facts: readonly EventType[]): Rules {
  const all: Record<string, Partial<Record<EventType, string>>> = { retired: {} };
  for (const [state, next] of Object.entries(states)) {
    all[state] = { ...Object.fromEntries(facts.map((fact) => [fact, state])), ...next, retired: 'retired' };
  }
  return all;
}

/**
 * Kind and state of an account after one more event.
 * @throws {MillraceError} E_STATE if the event is not allowed in this state
 */
export function nextState(
  head: AccountHead | undefined,
  account: string,
  type: EventType,
): Pick<AccountHead, 'kind' | 'state'> {
  if (head === undefined) {
    const kind = openedBy[type];
    if (kind === undefined) {
      throw new MillraceError('E_STATE', `account ${account}: '${type}' cannot be the first event`, {
        data: { account, type },
      });
    }
    return { kind, state: kind === 'object' ? 'ordered' : 'open' };
  }
  const state = rules[head.kind][head.state]?.[type];
  if (state === undefined) {
    throw new MillraceError(
      'E_STATE',
      `account ${account}: '${type}' is not allowed, the ${head.kind} is ${head.state}`,
      {
        data: { account, kind: head.kind, state: head.state, type },
      },
    );
  }
  return { kind: head.kind, state };
}

/**
 * Account after `logged`, if that is the valid next event.
 * @throws {MillraceError} E_LEDGER_ENTRY if sequence, previous hash or type do not follow the previous event
 */
export function follow(head: AccountHead | undefined, logged: LoggedEvent): AccountHead {
  const { event, index, hash } = logged;
  const wrong = (what: string, cause?: unknown) =>
    new MillraceError('E_LEDGER_ENTRY', `entry ${index} (account ${event.account}): ${what}`, {
      data: { index, account: event.account, sequence: event.sequence },
      cause,
    });
  const sequence = head === undefined ? 0 : head.sequence + 1;
  if (event.sequence !== sequence) throw wrong(`has sequence ${event.sequence}, expected ${sequence}`);
  if (head !== undefined && (event.previous === null || !equalBytes(event.previous, head.hash))) {
    throw wrong(`does not name the hash of the event before it (entry ${head.index})`);
  }
  if (head !== undefined && index <= head.index) throw wrong('precedes the event that it follows in the log');
  try {
    return { account: event.account, ...nextState(head, event.account, event.type), sequence, index, hash };
  } catch (cause) {
    throw wrong(cause instanceof MillraceError ? cause.message : 'is out of order', cause);
  }
}
