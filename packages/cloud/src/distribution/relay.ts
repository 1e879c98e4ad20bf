import { type Bytes, equalBytes, type Logger, MillraceError, toHex } from '@millrace/base';
import { decodeLink, encodeControl, encodeStream, type HttpClient, type LinkControl } from '@millrace/protocol';
import { MachineCalls, type Peer } from './calls.ts';

export type { Peer } from './calls.ts';

type NodeName = 'segments' | 'keys';

interface MachineLink {
  readonly peer: Peer;
  readonly calls: MachineCalls;
  /** The permit for which the segments node names it, until the keys node has offered a session for that. */
  admitted: string | undefined;
  /** What the keys node offers to it, until the segments node has named it for the permit. */
  offered: Offered | undefined;
  /** The session of the stream that it runs now. */
  session: Bytes | undefined;
  /** The session whose frames the segments node sends to it: they pass when it is the one that it runs. */
  routed: Bytes | undefined;
}

interface Offered {
  readonly jti: string;
  readonly session: Bytes;
  /** The offer, and what the keys node has sent after it, as the machine gets it. */
  readonly messages: Bytes[];
}

/** The offer, the keys and hashes of a window, which may be here before the segments node has its mail. */
const MOST_WAITING = 128;

/**
 * Passes frames, keys and reverse frames between machines and the proactive nodes, and machines' calls to control.
 * Everything that passes is sealed or hinted: the relay reads addresses only. The keys node names the machine of a
 * session, the segments node those of a permit and of a session's frames: neither alone can have anything sent elsewhere.
 */
export class Relay {
  readonly #machines = new Map<string, MachineLink>();
  readonly #nodes = new Map<NodeName, Peer>();
  /** Session → machine. */
  readonly #sessions = new Map<string, string>();
  /** Session → link of the machine to which the keys node offers it; the segments node has not named that yet. */
  readonly #offers = new Map<string, MachineLink>();
  readonly #control: HttpClient;
  readonly #logger: Logger;

  constructor(control: HttpClient, logger: Logger) {
    this.#control = control;
    this.#logger = logger;
  }

  nodeOpened(name: NodeName, peer: Peer): void {
    this.#nodes.get(name)?.close();
    this.#nodes.set(name, peer);
  }

  nodeClosed(name: NodeName, peer: Peer): void {
    if (this.#nodes.get(name) !== peer) return;
    this.#nodes.delete(name);
    for (const link of this.#machines.values()) {
      const { peer: machine, session } = link;
      if (name === 'keys') this.#drop(link);
      else link.admitted = undefined;
      if (session !== undefined) machine.send(encodeControl({ type: 'lost', session, who: name }));
    }
  }

  machineOpened(machine: string, peer: Peer): void {
    const before = this.#machines.get(machine);
    if (before !== undefined) {
      before.peer.close();
      this.#forget(machine, before);
    }
    this.#machines.set(machine, {
      peer,
      calls: new MachineCalls({ control: this.#control, machine, peer }),
      admitted: undefined,
      offered: undefined,
      session: undefined,
      routed: undefined,
    });
  }

  machineClosed(machine: string, peer: Peer): void {
    const link = this.#machines.get(machine);
    if (link?.peer !== peer) return;
    this.#forget(machine, link);
  }

  /** The machine's link is gone, its calls and its session with it. */
  #forget(machine: string, link: MachineLink): void {
    link.calls.close();
    this.#machines.delete(machine);
    this.#drop(link);
    if (link.session === undefined) return;
    this.#sessions.delete(toHex(link.session));
    for (const node of this.#nodes.values())
      node.send(encodeControl({ type: 'lost', session: link.session, who: 'machine' }));
  }

  /** @throws {MillraceError} E_INPUT: the connection is closed */
  fromNode(name: NodeName, bytes: Uint8Array): void {
    const message = decodeLink(bytes, true);
    if (message.kind === 'control') return this.#controlFromNode(name, message.message);
    if (message.kind === 'reverse') throw new MillraceError('E_INPUT', 'reverse frames come from machines');
    if ((message.kind === 'frame') !== (name === 'segments'))
      throw new MillraceError('E_INPUT', `not for the ${name} node`);
    const forwarded = encodeStream(message.kind, message.payload);
    if (message.kind === 'key') return this.#fromKeys(message.session, forwarded);
    const link = this.#linkOf(message.session);
    if (link !== undefined && isRouted(link, message.session)) link.peer.send(forwarded);
  }

  /** @throws {MillraceError} E_INPUT: the connection is closed */
  fromMachine(machine: string, bytes: Uint8Array): void {
    const link = this.#machines.get(machine);
    if (link === undefined) return;
    const message = decodeLink(bytes, false);
    if (message.kind === 'reverse') {
      if (link.session === undefined) return;
      const forwarded = encodeStream('reverse', message.payload, link.session);
      for (const node of this.#nodes.values()) node.send(forwarded);
      return;
    }
    if (message.kind !== 'control' || message.message.type !== 'call') {
      throw new MillraceError('E_INPUT', 'a machine sends calls and reverse frames only');
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

  #controlFromNode(name: NodeName, message: LinkControl): void {
    if (message.type === 'offer' && name === 'keys') return this.#offer(message);
    if (message.type === 'admit' && name === 'segments') return this.#admit(message);
    if (message.type === 'route' && name === 'segments') return this.#route(message);
    if ((message.type === 'mix' || message.type === 'hashes') && name === 'keys')
      return this.#fromKeys(message.session, encodeControl(message));
    if (message.type === 'end') {
      const waiting = this.#offers.get(toHex(message.session));
      if (waiting !== undefined && name === 'keys') this.#drop(waiting);
      const link = this.#linkOf(message.session);
      if (link === undefined || (name === 'segments' && !isRouted(link, message.session))) return;
      link.peer.send(encodeControl(message));
      this.#sessions.delete(toHex(message.session));
      link.session = undefined;
      return;
    }
    throw new MillraceError('E_INPUT', `a ${name} node does not send ${message.type}`);
  }

  #offer(message: Extract<LinkControl, { type: 'offer' }>): void {
    const { machine, jti, offer } = message;
    const key = toHex(offer.session);
    const link = this.#machineOf(machine);
    if (link === undefined) return;
    const taken = this.#sessions.get(key);
    if (taken !== undefined) return this.#logger.warn({ machine, taken }, 'the session is under way already');
    this.#drop(link);
    const other = this.#offers.get(key);
    if (other !== undefined) this.#drop(other);
    link.offered = { jti, session: offer.session, messages: [encodeControl(message)] };
    this.#offers.set(key, link);
    this.#agree(machine, link);
  }

  #admit({ machine, jti }: Extract<LinkControl, { type: 'admit' }>): void {
    const link = this.#machineOf(machine);
    if (link === undefined) return;
    link.admitted = jti;
    this.#agree(machine, link);
  }

  #route({ machine, session }: Extract<LinkControl, { type: 'route' }>): void {
    const link = this.#machineOf(machine);
    if (link !== undefined) link.routed = session;
  }

  #machineOf(machine: string): MachineLink | undefined {
    const link = this.#machines.get(machine);
    if (link === undefined) this.#logger.info({ machine }, 'the machine of a session is not connected');
    return link;
  }

  /** A stream begins when both nodes have named the same machine for its permit; a permit serves once. */
  #agree(machine: string, link: MachineLink): void {
    const { offered, admitted } = link;
    if (offered === undefined || offered.jti !== admitted) return;
    if (link.session !== undefined) this.#sessions.delete(toHex(link.session));
    link.session = offered.session;
    link.admitted = undefined;
    this.#drop(link);
    this.#sessions.set(toHex(offered.session), machine);
    for (const message of offered.messages) link.peer.send(message);
  }

  /** To the session's machine; what comes before the segments node has named that waits with the offer. */
  #fromKeys(session: Bytes, message: Bytes): void {
    const link = this.#linkOf(session);
    if (link !== undefined) return link.peer.send(message);
    const waiting = this.#offers.get(toHex(session));
    if (waiting?.offered === undefined) return;
    // The machine calls home again when no stream begins.
    if (waiting.offered.messages.length === MOST_WAITING) this.#drop(waiting);
    else waiting.offered.messages.push(message);
  }

  /** Forgets what the keys node has offered to the machine. */
  #drop(link: MachineLink): void {
    if (link.offered !== undefined) this.#offers.delete(toHex(link.offered.session));
    link.offered = undefined;
  }

  #linkOf(session: Uint8Array): MachineLink | undefined {
    const machine = this.#sessions.get(toHex(session));
    return machine === undefined ? undefined : this.#machines.get(machine);
  }
}

/** Whether the segments node, too, says that the session is this machine's. */
function isRouted({ routed }: MachineLink, session: Uint8Array): boolean {
  return routed !== undefined && equalBytes(routed, session);
}
