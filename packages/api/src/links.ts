import type { Action } from './actions.ts';
import type { Caller } from './route.ts';

/** A WebSocket that a server accepts. Its messages are in spec/protocol.md, section 3. */
export interface Link {
  readonly path: string;
  readonly summary: string;
  readonly callers: readonly Caller[];
  /** Action on which the policy decides. */
  readonly action: Action;
}

export type Links = Readonly<Record<string, Link>>;

/** Links of the distribution node. */
export const distributionLinks = {
  machine: {
    path: '/v1/machine',
    summary: 'frames to a machine; its calls and reverse frames',
    callers: ['machine'],
    action: 'link.machine',
  },
  node: {
    path: '/v1/node',
    summary: 'frames and keys of the proactive nodes; reverse frames to them',
    callers: ['segments', 'keys'],
    action: 'link.node',
  },
} as const satisfies Links;
