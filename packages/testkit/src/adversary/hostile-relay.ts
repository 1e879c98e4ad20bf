import { type Bytes, copyBytes, decodeCbor, encodeCbor } from '@millrace/base';
import type { Peer, Relay } from '@millrace/cloud/parts';
import { decodeLink, encodeControl, type LinkControl, type LinkMessage } from '@millrace/protocol';

/** Sender and recipient of a message. */
export type Leg = 'from segments' | 'from keys' | 'from machine';

/** The distribution node's relay with an attacker's code, which reads, alters, drops, forges and replays messages. */
export interface HostileRelay {
  readonly seen: readonly { readonly leg: Leg; readonly message: LinkMessage; readonly bytes: Bytes }[];
  /** Returns the replacements of a message. */
  meddle: (leg: Leg, bytes: Bytes) => readonly Bytes[];
  /** Sends bytes to a connected machine. */
  toMachine(machine: string, bytes: Bytes): void;
  /** Restores the honest behaviour. */
  behave(): void;
}

const honest: HostileRelay['meddle'] = (_leg, bytes) => [bytes];

export function ownRelay(relay: Relay): HostileRelay {
  const seen: { leg: Leg; message: LinkMessage; bytes: Bytes }[] = [];
  const machines = new Map<string, Peer>();
  const own: HostileRelay = {
    seen,
    meddle: honest,
    toMachine: (machine, bytes) => machines.get(machine)?.send(bytes),
    behave: () => {
      own.meddle = honest;
    },
  };
  const opened = relay.machineOpened.bind(relay);
  const fromNode = relay.fromNode.bind(relay);
  const fromMachine = relay.fromMachine.bind(relay);
  relay.machineOpened = (machine, peer) => {
    machines.set(machine, peer);
    opened(machine, peer);
  };
  relay.fromNode = (node, given) => {
    const bytes = copyBytes(given);
    const leg = node.role === 'keys' ? 'from keys' : 'from segments';
    seen.push({ leg, message: decodeLink(bytes, true), bytes });
    for (const passed of own.meddle(leg, bytes)) fromNode(node, passed);
  };
  relay.fromMachine = (machine, given) => {
    const bytes = copyBytes(given);
    seen.push({ leg: 'from machine', message: decodeLink(bytes, false), bytes });
    for (const passed of own.meddle('from machine', bytes)) fromMachine(machine, passed);
  };
  return own;
}

type CallMessage = Extract<LinkControl, { type: 'call' }>;

/** The call in a machine's message; undefined if the message is not a call. */
export function callOf(bytes: Bytes): CallMessage | undefined {
  const link = decodeLink(bytes, false);
  return link.kind === 'control' && link.message.type === 'call' ? link.message : undefined;
}

/** A machine's message with another document in its call. */
export function withDocument(call: CallMessage, change: (document: Bytes) => Bytes): Bytes {
  const fields = decodeCbor(copyBytes(call.body), 'call') as Record<string, Uint8Array>;
  const changed = Object.entries(fields).map(([field, document]) => [field, change(copyBytes(document))] as const);
  return encodeControl({ ...call, body: encodeCbor(Object.fromEntries(changed)) });
}
