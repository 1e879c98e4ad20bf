import type { Transport } from '@millrace/api';
import {
  type Bytes,
  equalBytes,
  type Logger,
  MillraceError,
  noTracer,
  type Span,
  type Tracer,
  toHex,
} from '@millrace/base';
import { decodeLink, encodeControl, encodeStream, type LinkControl } from '@millrace/protocol';
import { type CallingMachine, MachineCalls, type Peer } from './calls.ts';

export type { Peer } from './calls.ts';

/** A proactive node. Several nodes may have the same role. */
export interface RelayNode {
  readonly id: string;
  readonly role: 'segments' | 'keys';
}

interface MachineLink {
  readonly peer: Peer;
  /** Whether it is a machine of another cloud. */
  readonly visitor: boolean;
  readonly calls: MachineCalls;
  /**
   * Permits for which segments nodes have admitted the machine, by node, until a keys node offers a session for one.
   */
  readonly admitted: Map<string, string>;
  /** A keys node's offer, until the segments node has admitted the machine for its permit. */
  offered: Offered | undefined;
  /** The stream in progress. */
  session: Session | undefined;
  /**
   * The session whose frames each segments node routes to the machine, by node. Frames pass if that session is in
   * progress with that node.
   */
  readonly routed: Map<string, Bytes>;
}

/** A stream, which belongs to one node of each role. */
interface Session {
  readonly session: Bytes;
  readonly keys: string;
  readonly segments: string;
  readonly span: Span;
}

interface Offered {
  readonly permitId: string;
  /** Id of the keys node. */
  readonly keys: string;
  readonly session: Bytes;
  /** The offer and the keys node's messages after it, encoded for the machine. */
  readonly messages: Bytes[];
}

/**
 * Maximum number of waiting messages: the offer, and the keys and hashes of a window, which may arrive before the
 * segments node's `admit`.
 */
const MAX_WAITING = 128;

/**
 * Passes frames, keys and reverse frames between machines and the proactive nodes, and machines' calls to control. The
 * relay reads only addresses, because all content is sealed or hinted. A session needs both nodes: the keys node names
 * its machine in the offer, the segments node in `admit` and `route`, so neither alone can redirect a stream. There may
 * be several nodes of each role. A session belongs to the keys node that offered it and the segments node that admitted
 * its machine; no other node sends or receives its messages.
 */
export class Relay {
  readonly #machines = new Map<string, MachineLink>();
  /** Links of machines, by id. */
  readonly #nodes = new Map<string, Peer>();
  /** Sessions in progress → machine. */
  readonly #sessions = new Map<string, string>();
  /** Offered sessions whose machine the segments node has not admitted yet → link of the machine. */
  readonly #offers = new Map<string, MachineLink>();
  readonly #control: Transport;
  readonly #logger: Logger;
  readonly #tracer: Tracer;

  constructor(control: Transport, logger: Logger, tracer: Tracer = noTracer) {
    this.#control = control;
    this.#logger = logger;
    this.#tracer = tracer;
  }

  nodeOpened({ id }: RelayNode, peer: Peer): void {
    this.#nodes.get(id)?.close();
    this.#nodes.set(id, peer);
  }

  nodeClosed({ id, role }: RelayNode, peer: Peer): void {
    if (this.#nodes.get(id) !== peer) return;
    this.#nodes.delete(id);
    for (const link of this.#machines.values()) {
      const { peer: machine, session, offered } = link;
      if (offered?.keys === id) this.#drop(link);
      link.admitted.delete(id);
      if (session?.[role] === id) machine.send(encodeControl({ type: 'lost', session: session.session, who: role }));
    }
  }

  /** Says to nodes and machines of this cloud that there is a newer directory. */
  announceDirectory(sequence: number): void {
    const message = encodeControl({ type: 'directory', sequence });
    for (const peer of this.#nodes.values()) peer.send(message);
    for (const { peer, visitor } of this.#machines.values()) if (!visitor) peer.send(message);
  }

  /** Closes the links of nodes that the directory no longer names. */
  keepNodes(isNamed: (id: string) => boolean): void {
    for (const [id, peer] of this.#nodes) if (!isNamed(id)) peer.close();
  }

  /** @param machine its name on links @param caller the machine for control; by default that of the name */
  machineOpened(machine: string, peer: Peer, caller: CallingMachine = { machine }): void {
    const before = this.#machines.get(machine);
    if (before !== undefined) {
      before.peer.close();
      this.#forget(machine, before);
    }
    this.#machines.set(machine, {
      peer,
      visitor: caller.cloud !== undefined,
      calls: new MachineCalls({ control: this.#control, machine: caller, peer }),
      admitted: new Map(),
      offered: undefined,
      session: undefined,
      routed: new Map(),
    });
  }

  machineClosed(machine: string, peer: Peer): void {
    const link = this.#machines.get(machine);
    if (link?.peer !== peer) return;
    this.#forget(machine, link);
  }

  /** Ends the calls and the session of a machine whose link has closed. */
  #forget(machine: string, link: MachineLink): void {
    link.calls.close();
    this.#machines.delete(machine);
    this.#drop(link);
    if (link.session === undefined) return;
    const { session } = link.session;
    this.#sessions.delete(toHex(session));
    link.session.span.end();
    this.#toNodes(link.session, encodeControl({ type: 'lost', session, who: 'machine' }));
  }

  /** @throws {MillraceError} E_INPUT: the connection is closed */
  fromNode(node: RelayNode, bytes: Uint8Array): void {
    const { id, role } = node;
    const message = decodeLink(bytes, true);
    if (message.kind === 'control') return this.#controlFromNode(node, message.message);
    if (message.kind === 'reverse') throw new MillraceError('E_INPUT', 'reverse frames come from machines');
    if ((message.kind === 'frame') !== (role === 'segments'))
      throw new MillraceError('E_INPUT', `not for the ${role} node`);
    const forwarded = encodeStream(message.kind, message.payload);
    if (message.kind === 'key') return this.#fromKeys(id, message.session, forwarded);
    const link = this.#linkOf(message.session);
    if (link !== undefined && isRouted(link, id, message.session)) link.peer.send(forwarded);
  }

  /** @throws {MillraceError} E_INPUT: the connection is closed */
  fromMachine(machine: string, bytes: Uint8Array): void {
    const link = this.#machines.get(machine);
    if (link === undefined) return;
    const message = decodeLink(bytes, false);
    if (message.kind === 'reverse') {
      if (link.session === undefined) return;
      return this.#toNodes(link.session, encodeStream('reverse', message.payload, link.session.session));
    }
    if (message.kind !== 'control' || message.message.type !== 'call') {
      throw new MillraceError('E_INPUT', 'a machine may send only calls and reverse frames');
    }
    link.calls.take(message.message);
  }

  close(): void {
    for (const { peer, calls } of this.#machines.values()) {
      calls.close();
      peer.close();
    }
    for (const peer of this.#nodes.values()) peer.close();
  }

  #toNodes({ keys, segments }: Session, message: Bytes): void {
    for (const id of [keys, segments]) this.#nodes.get(id)?.send(message);
  }

  #controlFromNode({ id, role }: RelayNode, message: LinkControl): void {
    if (message.type === 'offer' && role === 'keys') return this.#offer(id, message);
    if (message.type === 'admit' && role === 'segments') return this.#admit(id, message);
    if (message.type === 'route' && role === 'segments') return this.#route(id, message);
    if ((message.type === 'mix' || message.type === 'hashes') && role === 'keys')
      return this.#fromKeys(id, message.session, encodeControl(message));
    if (message.type === 'end') return this.#end({ id, role }, message);
    if (message.type === 'release' && message.role === role)
      return this.#machineOf(message.machine)?.peer.send(encodeControl(message));
    throw new MillraceError('E_INPUT', `a ${role} node does not send ${message.type}`);
  }

  #end({ id, role }: RelayNode, message: Extract<LinkControl, { type: 'end' }>): void {
    const key = toHex(message.session);
    const waiting = this.#offers.get(key);
    if (waiting?.offered?.keys === id) this.#drop(waiting);
    const link = this.#linkOf(message.session);
    const own = role === 'segments' ? isRouted(link, id, message.session) : link?.session?.keys === id;
    if (link === undefined || !own) return;
    link.peer.send(encodeControl(message));
    this.#sessions.delete(key);
    link.session?.span.end();
    link.session = undefined;
  }

  #offer(keys: string, message: Extract<LinkControl, { type: 'offer' }>): void {
    const { machine, permitId, offer } = message;
    const key = toHex(offer.session);
    const link = this.#machineOf(machine);
    if (link === undefined) return;
    const taken = this.#sessions.get(key);
    if (taken !== undefined) return this.#logger.warn({ machine, taken }, 'offer refused: the session is in progress');
    const other = this.#offers.get(key);
    if (other !== undefined && other.offered?.keys !== keys)
      return this.#logger.warn({ machine, keys }, 'offer refused: another keys node has offered the session');
    this.#drop(link);
    if (other !== undefined) this.#drop(other);
    link.offered = { permitId, keys, session: offer.session, messages: [encodeControl(message)] };
    this.#offers.set(key, link);
    this.#agree(machine, link);
  }

  #admit(segments: string, { machine, permitId }: Extract<LinkControl, { type: 'admit' }>): void {
    const link = this.#machineOf(machine);
    if (link === undefined) return;
    link.admitted.set(segments, permitId);
    this.#agree(machine, link);
  }

  #route(segments: string, { machine, session }: Extract<LinkControl, { type: 'route' }>): void {
    const link = this.#machineOf(machine);
    if (link === undefined) return;
    link.routed.set(segments, session);
  }

  #machineOf(machine: string): MachineLink | undefined {
    const link = this.#machines.get(machine);
    if (link === undefined) this.#logger.info({ machine }, 'machine is not connected: message dropped');
    return link;
  }

  /** Begins a stream when both nodes have named the same machine for its permit. A permit is used once. */
  #agree(machine: string, link: MachineLink): void {
    const { offered, admitted } = link;
    if (offered === undefined) return;
    const { permitId, keys, session, messages } = offered;
    const segments = [...admitted].find(([, permit]) => permit === permitId)?.[0];
    if (segments === undefined) return;
    if (link.session !== undefined) this.#sessions.delete(toHex(link.session.session));
    link.session?.span.end();
    link.session = { session, keys, segments, span: this.#tracer.start('relay') };
    admitted.delete(segments);
    this.#drop(link);
    this.#sessions.set(toHex(session), machine);
    for (const message of messages) link.peer.send(message);
  }

  /** Sends to the session's machine. Messages that arrive before the machine is admitted wait with the offer. */
  #fromKeys(keys: string, session: Bytes, message: Bytes): void {
    const link = this.#linkOf(session);
    if (link !== undefined) return link.session?.keys === keys ? link.peer.send(message) : undefined;
    const waiting = this.#offers.get(toHex(session));
    if (waiting?.offered === undefined || waiting.offered.keys !== keys) return;
    // Drop the offer. Without a stream, the machine calls home again.
    if (waiting.offered.messages.length === MAX_WAITING) this.#drop(waiting);
    else waiting.offered.messages.push(message);
  }

  /** Forgets a keys node's offer to the machine. */
  #drop(link: MachineLink): void {
    if (link.offered !== undefined) this.#offers.delete(toHex(link.offered.session));
    link.offered = undefined;
  }

  #linkOf(session: Uint8Array): MachineLink | undefined {
    const machine = this.#sessions.get(toHex(session));
    return machine === undefined ? undefined : this.#machines.get(machine);
  }
}

/** Whether the session's segments node has also routed it to this machine. */
function isRouted(link: MachineLink | undefined, segments: string, session: Uint8Array): boolean {
  const routed = link?.routed.get(segments);
  return routed !== undefined && link?.session?.segments === segments && equalBytes(routed, session);
}
