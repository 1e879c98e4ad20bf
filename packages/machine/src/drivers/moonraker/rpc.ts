import { MillraceError, utf8 } from '@millrace/base';
import { jsonWith } from '../controller/json-text.ts';
import { openTextSocket, type TextSocket } from '../controller/text-socket.ts';
import { causeOf, type Message, parseMessage } from './parser.ts';

export interface RpcEvents {
  notified(method: string, params: readonly unknown[]): void;
  lost(): void;
}

interface Pending {
  resolve(result: unknown): void;
  reject(reason: unknown): void;
}

/** JSON-RPC over a websocket: requests, answers, notifications. */
export class Rpc {
  readonly #socket: TextSocket;
  readonly #pending = new Map<number, Pending>();
  #next = 1;

  private constructor(socket: TextSocket) {
    this.#socket = socket;
  }

  /** @throws {MillraceError} E_MACHINE */
  static async open(
    url: string,
    times: { readonly connectMs: number; readonly silenceMs: number },
    headers: Readonly<Record<string, string>>,
    { notified, lost }: RpcEvents,
  ): Promise<Rpc> {
    let rpc: Rpc | undefined;
    const socket = await openTextSocket(
      url,
      { server: 'Moonraker', headers, ...times },
      {
        message: (text) => {
          if (rpc !== undefined) rpc.#heard(parseMessage(text), notified);
        },
        lost: () => {
          if (rpc !== undefined) rpc.#end();
          lost();
        },
      },
    );
    rpc = new Rpc(socket);
    return rpc;
  }

  /** @throws {MillraceError} E_MACHINE if it is refused or the connection ends; the signal's reason */
  call(method: string, params: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<unknown> {
    const id = this.#next++;
    return this.#request(id, utf8(JSON.stringify({ jsonrpc: '2.0', method, params, id })), signal);
  }

  /** Has commands executed. They are wiped. @throws as `call` */
  script(commands: readonly Uint8Array[], signal?: AbortSignal): Promise<unknown> {
    const id = this.#next++;
    const before = '{"jsonrpc":"2.0","method":"printer.gcode.script","params":{"script":"';
    const message = jsonWith(before, commands, '\\n', `"},"id":${id}}`);
    for (const command of commands) command.fill(0);
    return this.#request(id, message, signal);
  }

  close(): void {
    this.#socket.close();
    this.#end();
  }

  #request(id: number, message: Uint8Array, signal: AbortSignal | undefined): Promise<unknown> {
    const answer = new Promise<unknown>((resolve, reject) => this.#pending.set(id, { resolve, reject }));
    const onAbort = () => this.#take(id)?.reject(signal?.reason);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
    this.#socket.send(message, (error) => {
      message.fill(0);
      if (error) this.#take(id)?.reject(gone());
    });
    return answer.finally(() => signal?.removeEventListener('abort', onAbort));
  }

  #heard(message: Message | undefined, notified: RpcEvents['notified']): void {
    if (message === undefined) return;
    const { id, method, params = [], error, result } = message;
    if (method !== undefined) return notified(method, params);
    const pending = id === undefined ? undefined : this.#take(id);
    if (error === undefined) pending?.resolve(result);
    else pending?.reject(new MillraceError('E_MACHINE', `Klipper refused: ${causeOf(error.message ?? '')}`));
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  #end(): void {
    for (const { reject } of this.#pending.values()) reject(gone());
    this.#pending.clear();
  }
}

const gone = () => new MillraceError('E_MACHINE', 'the connection to Moonraker has ended');
