import { type Bytes, type Logger, MillraceError, toHex, toMillraceError } from '@millrace/base';
import { decodeLink, encodeControl, encodeStream, type HttpClient, type LinkControl } from '@millrace/protocol';

/** One connected party, as the relay sees it. */
export interface Peer {
  send(message: Bytes): void;
  close(): void;
}

type NodeName = 'segments' | 'keys';

interface MachineLink {
  readonly peer: Peer;
  /** The session of the stream that it runs now. */
  session: Bytes | undefined;
}

/** Longest time control may hold a call of a machine (`next` waits up to 30 s). */
const CALL_MS = 45_000;

/**
 * Passes frames, keys and reverse frames between machines and the proactive nodes, and machines' calls to control.
 * Everything that passes is sealed or hinted: the relay reads addresses only.
 */
export class Relay {
  readonly #machines = new Map<string, MachineLink>();
  readonly #nodes = new Map<NodeName, Peer>();
  /** Session → machine. */
  readonly #sessions = new Map<string, string>();
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
    for (const { peer: machine, session } of this.#machines.values()) {
      if (session !== undefined) machine.send(encodeControl({ type: 'lost', session, who: name }));
    }
  }

  machineOpened(machine: string, peer: Peer): void {
    this.#machines.get(machine)?.peer.close();
    this.#machines.set(machine, { peer, session: undefined });
  }

  machineClosed(machine: string, peer: Peer): void {
    const link = this.#machines.get(machine);
    if (link?.peer !== peer) return;
    this.#machines.delete(machine);
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
    const link = this.#linkOf(message.session);
    link?.peer.send(encodeStream(message.kind, message.payload));
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
    void this.#call(machine, link, message.message);
  }

  close(): void {
    for (const { peer } of this.#machines.values()) peer.close();
    for (const peer of this.#nodes.values()) peer.close();
  }

  #controlFromNode(name: NodeName, message: LinkControl): void {
    if (message.type === 'offer' && name === 'keys') {
      const link = this.#machines.get(message.machine);
      if (link === undefined)
        return this.#logger.info({ machine: message.machine }, 'the machine of an offer is not connected');
      if (link.session !== undefined) this.#sessions.delete(toHex(link.session));
      link.session = message.offer.session;
      this.#sessions.set(toHex(message.offer.session), message.machine);
      return link.peer.send(encodeControl(message));
    }
    if ((message.type === 'mix' || message.type === 'hashes') && name === 'keys')
      return this.#linkOf(message.session)?.peer.send(encodeControl(message));
    if (message.type === 'end') {
      const link = this.#linkOf(message.session);
      if (link === undefined) return;
      link.peer.send(encodeControl(message));
      this.#sessions.delete(toHex(message.session));
      link.session = undefined;
      return;
    }
    throw new MillraceError('E_INPUT', `a ${name} node does not send ${message.type}`);
  }

  #linkOf(session: Uint8Array): MachineLink | undefined {
    const machine = this.#sessions.get(toHex(session));
    return machine === undefined ? undefined : this.#machines.get(machine);
  }

  async #call(
    machine: string,
    link: MachineLink,
    { call, method, body }: Extract<LinkControl, { type: 'call' }>,
  ): Promise<void> {
    try {
      const reply = await this.#control.call('POST', `/v1/machines/${machine}/${method}`, { body, timeoutMs: CALL_MS });
      link.peer.send(encodeControl({ type: 'answer', call, body: reply.body }));
    } catch (error) {
      const { code, message } = toMillraceError(error);
      link.peer.send(encodeControl({ type: 'error', call, code, message }));
    }
  }
}
