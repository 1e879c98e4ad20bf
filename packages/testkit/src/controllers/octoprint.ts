import type { IncomingMessage, ServerResponse } from 'node:http';
import type { WebSocket } from 'ws';
import { Executed } from './executed.ts';
import { type ServedWeb, serveWeb } from './serve-web.ts';

export interface OctoprintSimulatorOptions {
  readonly uuid?: string;
  readonly apiKey?: string;
  /** Real milliseconds for each second of G4. */
  readonly msPerSecond?: number;
  /** Interval of its reports; 500 ms in a real one. */
  readonly pushMs?: number;
  readonly faults?: OctoprintFaults;
}

/** What goes wrong: numbers count commands. */
export interface OctoprintFaults {
  readonly errorAt?: number;
  readonly resetAt?: number;
  /** The printer is unplugged from OctoPrint. */
  readonly lostAt?: number;
  readonly waitAt?: number;
  readonly dropAt?: number;
  readonly chatter?: boolean;
}

const SESSION = 'a-session';

/** OctoPrint with a printer behind it: the part of its API that a printer connection needs. */
export class OctoprintSimulator extends Executed {
  readonly #options: OctoprintSimulatorOptions;
  /** Requests that OctoPrint would have stored as files. */
  files = 0;
  /** Most commands that waited in its queue. */
  longest = 0;
  /** Lines of its log that were sent over the socket. */
  readonly sentLogs: string[] = [];
  state: 'Closed' | 'Operational' | 'Error' = 'Closed';
  halted = false;
  waits = false;
  target = { tool0: 0, bed: 0 };
  #queue: string[] = [];
  #logs: string[] = [];
  #count = 0;
  #busy = false;
  #stop: () => void = () => undefined;
  #served: ServedWeb | undefined;
  #push: NodeJS.Timeout | undefined;
  readonly #sockets = new Map<WebSocket, { logs: RegExp | undefined; authenticated: boolean }>();

  constructor(options: OctoprintSimulatorOptions = {}) {
    super(/^(M400|M115|M118 E1 millrace|M108|M410)/);
    this.#options = options;
  }

  get url(): string {
    return this.#served?.url ?? '';
  }

  async listen(): Promise<this> {
    this.#served = await serveWeb({
      path: '/sockjs/websocket',
      answer: (request, response) => void this.#answer(request, response),
      connected: (socket) => {
        this.#sockets.set(socket, { logs: /./, authenticated: false });
        socket.on('close', () => this.#sockets.delete(socket));
        socket.on('message', (data) => this.#told(socket, JSON.parse(data.toString()) as Record<string, unknown>));
        socket.send(JSON.stringify({ connected: { version: '1.11.0' } }));
      },
    });
    this.#push = setInterval(() => this.#report(), this.#options.pushMs ?? 10);
    return this;
  }

  async close(): Promise<void> {
    clearInterval(this.#push);
    this.#stop();
    await this.#served?.close();
  }

  drop(): void {
    this.#served?.drop();
  }

  /** A person confirms at the printer. */
  confirm(): void {
    this.#stop();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const { apiKey } = this.#options;
    const send = (status: number, body?: unknown) => {
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    };
    if (apiKey !== undefined && request.headers['x-api-key'] !== apiKey) return send(403, { error: 'no permission' });
    const text = Buffer.concat(parts).toString();
    const body = (text === '' ? {} : JSON.parse(text)) as { command?: string; commands?: string[] };
    const route = `${request.method} ${request.url}`;
    if (route === 'GET /api/version') send(200, { api: '0.1', server: '1.11.0', text: 'OctoPrint 1.11.0' });
    else if (route === 'POST /api/login') send(200, { name: 'millrace', session: SESSION });
    else if (route === 'GET /api/connection') send(200, { current: { state: this.state } });
    else if (route === 'POST /api/connection') {
      this.state = 'Operational';
      this.halted = false;
      send(204);
    } else if (route === 'GET /api/job') send(200, { state: this.state });
    else if (route === 'GET /api/printer') {
      const heat = (target: number) => ({ actual: target, target, offset: 0 });
      send(200, { temperature: { tool0: heat(this.target.tool0), bed: heat(this.target.bed) } });
    } else if (route === 'POST /api/printer/command' && this.state !== 'Operational')
      send(409, { error: 'not operational' });
    else if (route === 'POST /api/printer/command') {
      for (const command of body.commands ?? []) this.#receive(command);
      send(204);
    } else {
      if (request.url?.startsWith('/api/files')) this.files += 1;
      send(404, {});
    }
  }

  #told(socket: WebSocket, message: Record<string, unknown>): void {
    const entry = this.#sockets.get(socket);
    if (entry === undefined) return;
    const { state } = (message.subscribe ?? {}) as { state?: { logs?: string } };
    if (state?.logs !== undefined) entry.logs = new RegExp(state.logs);
    if (message.auth !== undefined) entry.authenticated = String(message.auth).endsWith(`:${SESSION}`);
  }

  #receive(command: string): void {
    if (command === 'M112') return this.#halt();
    // OctoPrint sends these before its queue.
    if (command === 'M108' || command === 'M410') return this.#stop();
    this.#queue.push(command);
    this.longest = Math.max(this.longest, this.#queue.length);
    if (!this.#busy) void this.#work();
  }

  #halt(): void {
    this.halted = true;
    this.#queue = [];
    this.target = { tool0: 0, bed: 0 };
    this.state = 'Closed';
    this.#stop();
  }

  async #work(): Promise<void> {
    this.#busy = true;
    for (let command = this.#queue.shift(); command !== undefined; command = this.#queue.shift()) {
      this.#log(`Send: ${command}`);
      await this.#execute(command);
      this.#log('Recv: ok');
    }
    this.#busy = false;
  }

  async #execute(command: string): Promise<void> {
    const { errorAt, resetAt, lostAt, waitAt, dropAt, chatter } = this.#options.faults ?? {};
    this.#count += 1;
    if (this.#count === errorAt) this.#log(`Recv: Error:Heating failed, system stopped! near ${command}`);
    if (this.#count === resetAt) {
      this.#queue = [];
      this.#log('Recv: start');
      return;
    }
    if (this.#count === lostAt) {
      this.#queue = [];
      this.state = 'Error';
      return;
    }
    if (this.#count === dropAt) this.drop();
    if (chatter && this.#count % 5 === 0) for (const socket of this.#sockets.keys()) socket.send('h');
    this.executed.push(command);
    const [, code, value] = /^(M10[49]|M1[49]0) S(\d+)/.exec(command) ?? [];
    if (code !== undefined) this.target[/^M10/.test(code) ? 'tool0' : 'bed'] = Number(value);
    if (command === 'M115')
      this.#log(`Recv: FIRMWARE_NAME:Marlin 2.1.2 (x) SOURCE_CODE_URL:y UUID:${this.#options.uuid ?? ''}`);
    const mark = /^M118 E1 (.*)$/.exec(command)?.[1];
    if (mark !== undefined) this.#log(`Recv: echo:${mark}`);
    if (/^M9999/.test(command)) this.#log(`Recv: echo:Unknown command: "${command}"`);
    const seconds = Number(/^G4 S(\d+)/.exec(command)?.[1] ?? (/^M1[09][09] S/.test(command) ? 10 : 0));
    let ms = seconds * (this.#options.msPerSecond ?? 0);
    if (this.#count === waitAt) {
      this.#log('Recv: echo:busy: paused for user');
      this.waits = true;
      ms = 2 ** 30;
    }
    if (ms > 0) await this.#wait(ms);
    this.waits = false;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#stop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #log(line: string): void {
    this.#logs.push(line);
  }

  #report(): void {
    const logs = this.#logs.splice(0);
    const closed = this.state !== 'Operational';
    const flags = { operational: !closed, printing: false, closedOrError: closed, error: this.state === 'Error' };
    const heat = (target: number) => ({ actual: target, target });
    for (const [socket, { logs: filter, authenticated }] of this.#sockets) {
      if (!authenticated) continue;
      const wanted = logs.filter((line) => filter?.test(line));
      this.sentLogs.push(...wanted);
      const temps = [{ time: 1, tool0: heat(this.target.tool0), bed: heat(this.target.bed) }];
      socket.send(JSON.stringify({ current: { state: { text: this.state, flags }, temps, logs: wanted } }));
    }
  }
}
