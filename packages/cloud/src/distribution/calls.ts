import { controlRoutes, pathOf, type Transport } from '@millrace/api';
import { type Bytes, MillraceError, toMillraceError } from '@millrace/base';
import { encodeControl, type LinkControl } from '@millrace/protocol';

/** The relay's view of one connected party. */
export interface Peer {
  send(message: Bytes): void;
  close(): void;
}

/** Maximum time for which control may hold a call of a machine, ms (`next` waits up to 30 s). */
const CALL_MS = 45_000;
/** Concurrent calls of one machine, not counting those that wait. An agent makes two. */
const MAX_CALLS = 4;

type Call = Extract<LinkControl, { type: 'call' }>;

const { next, callHome, report, command, commanded, look, looked } = controlRoutes.machineCalls;
const visa = controlRoutes.visas.give;
const routes = { next, 'call-home': callHome, report, visa, command, commanded, look, looked } as const;
/** A machine of another cloud gets its work and its visas there. */
const visitorRoutes = {
  'call-home': controlRoutes.visitorCalls.callHome,
  report: controlRoutes.visitorCalls.report,
} as const;

/** A connected machine. */
export interface CallingMachine {
  /** Key name. */
  readonly machine: string;
  /** The machine's cloud, if it is another one. */
  readonly cloud?: string | undefined;
}

/**
 * Passes the calls of one machine to control without reading them. A call that waits, for work, for commands or for somebody who
 * looks, has its own connection; a new one replaces the previous one of its kind. The number of other calls is limited,
 * so that one machine cannot exhaust the connections to control.
 */
export class MachineCalls {
  readonly #control: Transport;
  readonly #machine: CallingMachine;
  readonly #peer: Peer;
  readonly #stop = new AbortController();
  readonly #waiting = new Map<Call['method'], AbortController>();
  #underWay = 0;

  constructor(modules: { control: Transport; machine: CallingMachine; peer: Peer }) {
    this.#control = modules.control;
    this.#machine = modules.machine;
    this.#peer = modules.peer;
  }

  take(call: Call): void {
    if (this.#machine.cloud !== undefined && !isVisitors(call.method))
      return this.#refuse(call, new MillraceError('E_FORBIDDEN', 'a machine of another cloud may not make this call'));
    if (routes[call.method].waits) return void this.#wait(call);
    if (this.#underWay >= MAX_CALLS)
      return this.#refuse(call, new MillraceError('E_UNAVAILABLE', `more than ${MAX_CALLS} concurrent calls`));
    this.#underWay++;
    void this.#pass(call, this.#stop.signal).finally(() => {
      this.#underWay--;
    });
  }

  /** Aborts the machine's calls after it has disconnected. */
  close(): void {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the machine’s link is closed'));
  }

  async #wait(call: Call): Promise<void> {
    const { method } = call;
    this.#waiting.get(method)?.abort(new MillraceError('E_CONFLICT', 'the machine has made the same call again'));
    const waiting = new AbortController();
    this.#waiting.set(method, waiting);
    await this.#pass(call, AbortSignal.any([this.#stop.signal, waiting.signal]));
    if (this.#waiting.get(method) === waiting) this.#waiting.delete(method);
  }

  async #pass(call: Call, signal: AbortSignal): Promise<void> {
    const { body, method } = call;
    const { machine, cloud } = this.#machine;
    const route = cloud === undefined || !isVisitors(method) ? routes[method] : visitorRoutes[method];
    const path = pathOf(route, cloud === undefined ? { machine } : { machine, cloud });
    try {
      const options = { body, headers: {}, timeoutMs: CALL_MS, signal, poll: route.waits };
      const reply = await this.#control.call(route.method, path, options);
      this.#peer.send(encodeControl({ type: 'answer', call: call.call, body: reply.body }));
    } catch (error) {
      this.#refuse(call, isAboutNode(error) ? noLonger(error) : error);
    }
  }

  #refuse({ call }: Call, error: unknown): void {
    const { code, message } = toMillraceError(error);
    this.#peer.send(encodeControl({ type: 'error', call, code, message }));
  }
}

/** Control refuses this node, which was retired, and not the call. The machine makes it again at another node. */
const isAboutNode = (error: unknown): error is MillraceError =>
  error instanceof MillraceError && error.code === 'E_AUTH' && error.data.node !== undefined;
const noLonger = (cause: MillraceError) =>
  new MillraceError('E_UNAVAILABLE', 'control no longer accepts this distribution node', { cause });

const isVisitors = (method: Call['method']): method is keyof typeof visitorRoutes => method in visitorRoutes;
