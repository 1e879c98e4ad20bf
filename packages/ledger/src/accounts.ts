import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import type { EventType, LoggedEvent } from './event.ts';

/** What an account is of: known by the type of its first event. */
export type AccountKind = 'object' | 'licence' | 'machine' | 'material' | 'design';

/** Where an account stands after its last event. */
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
};

/** Which event may follow in which state, and the state after it. `open` and `retired` are states as any other. */
const rules: Readonly<Record<AccountKind, Rules>> = {
  object: withAnywhere(
    {
      ordered: { licensed: 'licensed', permitted: 'permitted' },
      licensed: { permitted: 'permitted' },
      // A start can get lost with the link; the end of the print counts all the same.
      permitted: { started: 'started', completed: 'completed', failed: 'failed', alarmed: 'alarmed' },
      started: { progressed: 'started', completed: 'completed', failed: 'failed', alarmed: 'alarmed' },
      // Stays alarmed until it has failed or the owner credits it: what the machine says it made does not count.
      alarmed: {
        progressed: 'alarmed',
        alarmed: 'alarmed',
        inspected: 'alarmed',
        failed: 'failed',
        credited: 'credited',
      },
      // An alarm may come in after the end that overtook it.
      completed: { inspected: 'completed', alarmed: 'completed' },
      failed: { inspected: 'failed', alarmed: 'failed', credited: 'credited' },
      // The owner's credit lets the same object be tried again under a new permit.
      credited: { permitted: 'permitted' },
    },
    ['transferred', 'machine', 'material'],
  ),
  licence: withAnywhere({ open: {} }, ['permitted', 'credited', 'alarmed', 'inspected', 'transferred']),
  machine: withAnywhere({ open: {} }, ['machine', 'material', 'inspected', 'alarmed', 'failed', 'transferred']),
  material: withAnywhere({ open: {} }, ['material', 'inspected', 'transferred']),
  design: withAnywhere({ open: {} }, ['stored', 'licensed', 'alarmed', 'transferred']),
};

/** Adds to every state the events that change nothing, and `retired`, after which nothing comes. */
function withAnywhere(states: Rules, facts: readonly EventType[]): Rules {
  const all: Record<string, Partial<Record<EventType, string>>> = { retired: {} };
  for (const [state, next] of Object.entries(states)) {
    all[state] = { ...Object.fromEntries(facts.map((fact) => [fact, state])), ...next, retired: 'retired' };
  }
  return all;
}

/**
 * Kind and state of an account after one more event.
 * @throws {MillraceError} E_STATE when this event may not come here.
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
      `account ${account}: '${type}' may not follow, the ${head.kind} is ${head.state}`,
      {
        data: { account, kind: head.kind, state: head.state, type },
      },
    );
  }
  return { kind: head.kind, state };
}

/**
 * Account after `logged`, when it is the rightful next event.
 * @throws {MillraceError} E_LEDGER_ENTRY when sequence, previous hash or type do not follow the one before.
 */
export function follow(head: AccountHead | undefined, logged: LoggedEvent): AccountHead {
  const { event, index, hash } = logged;
  const wrong = (what: string, cause?: unknown) =>
    new MillraceError('E_LEDGER_ENTRY', `entry ${index} (account ${event.account}): ${what}`, {
      data: { index, account: event.account, sequence: event.sequence },
      cause,
    });
  const sequence = head === undefined ? 0 : head.sequence + 1;
  if (event.sequence !== sequence) throw wrong(`has sequence ${event.sequence}, where ${sequence} has to come`);
  if (head !== undefined && (event.previous === null || !equalBytes(event.previous, head.hash))) {
    throw wrong(`does not name the hash of the event before it (entry ${head.index})`);
  }
  if (head !== undefined && index <= head.index) throw wrong('stands in the log before the event that it follows');
  try {
    return { account: event.account, ...nextState(head, event.account, event.type), sequence, index, hash };
  } catch (cause) {
    throw wrong(cause instanceof MillraceError ? cause.message : 'is out of order', cause);
  }
}
