import { randomBytes } from 'node:crypto';
import { type Clock, Condition, type Logger, MillraceError, toMillraceError, utf8 } from '@millrace/base';
import type { Heater } from '@millrace/protocol';
import type { Capabilities, Heat, MachineIdentity, Pause } from '../contract.ts';
import { apiKeyHeaders } from '../controller/api-key.ts';
import { Batches } from '../controller/batches.ts';
import type { Controller, ControllerEvents, Readings } from '../controller/controller.ts';
import { printerCapabilities } from '../controller/controller-settings.ts';
import { identityOf } from '../controller/identity.ts';
import { record, textOf } from '../controller/json.ts';
import { jsonWith } from '../controller/json-text.ts';
import { stopSafely } from '../controller/safe-stop.ts';
import { openTextSocket, type TextSocket } from '../controller/text-socket.ts';
import { OctoprintApi } from './api.ts';
import { type Current, logFilter, parseFrame, parseLog } from './parser.ts';
import type { OctoprintSettings } from './settings.ts';

const ASK_MS = 2_000;

const pausedThere: Pause = {
  actor: 'controller',
  cause: 'the printer waits for a person, or was paused at its display',
  nextStep: 'do what the printer’s display says, then confirm there or resume the run',
};

/**
 * Talks to a printer through OctoPrint. OctoPrint acknowledges a request when it has queued it. So each batch ends with
 * a mark, an M118 that the printer echoes when it has reached it; no file is ever written to OctoPrint's disk.
 */
export class OctoprintController implements Controller {
  readonly maxCommand = 80;
  readonly #settings: OctoprintSettings;
  readonly #modules: { readonly clock: Clock; readonly logger: Logger };
  readonly #batches: Batches;
  readonly #change = new Condition();
  #events: ControllerEvents | undefined;
  #api: OctoprintApi | undefined;
  #socket: TextSocket | undefined;
  #failure: MillraceError | undefined;
  #firmware: { readonly name: string; readonly uuid?: string } | undefined;
  #heaters: readonly Heater[] = printerCapabilities.heaters;
  #temperatures: Partial<Record<Heater, Heat>> = {};
  #isOperational = false;
  #isReady = false;
  #running = false;
  #stopping = false;
  #waitsForUser = false;
  /** Marks of other runs are ignored. */
  #run = '';
  /** Marks that are waited for, other than those of batches. */
  readonly #marks = new Set<number>();
  #posting: Promise<void> = Promise.resolve();

  constructor(settings: OctoprintSettings, modules: { readonly clock: Clock; readonly logger: Logger }) {
    this.#settings = settings;
    this.#modules = modules;
    const { lines, requests } = settings.window;
    this.#batches = new Batches({ lines, inFlight: requests, send: (id, commands) => this.#send(id, commands) });
  }

  get capabilities(): Capabilities {
    return { ...printerCapabilities, heaters: this.#heaters };
  }

  async connect(expected: { readonly serial: string }, events: ControllerEvents): Promise<MachineIdentity> {
    await this.close();
    this.#events = events;
    this.#failure = undefined;
    const { url, apiKeyFile, connectMs, trustSerial } = this.#settings;
    const api = new OctoprintApi(url, await apiKeyHeaders(apiKeyFile), connectMs);
    this.#api = api;
    try {
      const { body: version } = await api.get('/api/version');
      await this.#connectPrinter(api);
      await this.#listen(api);
      await this.#ask('M115', () => this.#firmware !== undefined);
      await this.#readHeaters(api);
      const server = textOf(record(version).text) || 'OctoPrint';
      const firmware = `${this.#firmware?.name ?? ''}, ${server}`.slice(0, 64);
      const machine = { kind: 'octoprint', firmware, serials: [this.#firmware?.uuid] };
      const identity = identityOf(machine, expected, trustSerial);
      this.#open(); // throws if it has failed meanwhile
      this.#isReady = true;
      this.#modules.logger.info({ url, firmware }, 'OctoPrint connected');
      return identity;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async begin(modes: readonly string[]): Promise<undefined> {
    const { body } = await this.#open().get('/api/job');
    if (/print|paus/i.test(textOf(record(body).state)))
      throw new MillraceError('E_MACHINE', 'OctoPrint is printing a file of its own: wait, or cancel it there');
    this.#batches.reset();
    if (modes.length > 0) await this.#post(modes.map(utf8));
    this.#run = randomBytes(4).toString('hex');
    this.#waitsForUser = false;
    this.#stopping = false;
    this.#running = true;
  }

  hasRoom(): boolean {
    return this.#failure === undefined && !this.#stopping && this.#batches.hasRoom;
  }

  send(command: Uint8Array): void {
    this.#batches.add(command);
  }

  async finish(signal: AbortSignal): Promise<void> {
    await this.#still(signal);
    this.#running = false;
  }

  pause(): Promise<void> {
    return this.#still();
  }

  async resume(): Promise<void> {
    if (this.#waitsForUser) await this.#post([utf8('M108')]);
    this.#waitsForUser = false;
  }

  async cancel(): Promise<void> {
    if (this.#socket === undefined || this.#failure !== undefined) return;
    this.#running = false;
    this.#stopping = true;
    this.#batches.reset();
    const { logger } = this.#modules;
    const failure = () => this.#failure;
    try {
      await stopSafely({ machine: 'printer', logger, failure, emergencyStop: () => this.emergencyStop() }, () =>
        this.#stop(AbortSignal.timeout(this.#settings.cancelMs)),
      );
    } finally {
      this.#stopping = false;
    }
  }

  async emergencyStop(): Promise<void> {
    const api = this.#api;
    if (api === undefined || this.#failure !== undefined) return;
    // OctoPrint sends M112 at once.
    const stopped = api.post('/api/printer/command', utf8('{"commands":["M112"]}'));
    this.#end(new MillraceError('E_MACHINE', 'the printer was stopped in an emergency'));
    await stopped.catch(() => undefined);
  }

  readings(): Readings {
    return { temperatures: this.#temperatures };
  }

  async close(): Promise<void> {
    this.#socket?.close();
    this.#socket = undefined;
    this.#firmware = undefined;
    this.#isReady = false;
    this.#running = false;
    this.#batches.reset();
    this.#change.notify();
  }

  /** Lets OctoPrint connect to its printer, if it has not. */
  async #connectPrinter(api: OctoprintApi): Promise<void> {
    const state = async () => textOf(record(record((await api.get('/api/connection')).body).current).state);
    if (/^operational/i.test(await state())) return;
    await api.post('/api/connection', utf8('{"command":"connect"}'));
    const until = this.#now() + this.#settings.connectMs;
    while (!/^operational/i.test(await state())) {
      if (this.#now() > until)
        throw new MillraceError('E_MACHINE', 'OctoPrint is not connected to its printer: check cable and power');
      await this.#change.wait(AbortSignal.timeout(this.#settings.connectMs / 20)).catch(() => undefined);
    }
  }

  async #readHeaters(api: OctoprintApi): Promise<void> {
    const temperature = record(record((await api.get('/api/printer')).body).temperature);
    const names: Readonly<Record<Heater, string>> = { hotend: 'tool0', bed: 'bed', chamber: 'chamber' };
    this.#heaters = printerCapabilities.heaters.filter((heater) => {
      const { actual, target } = record(temperature[names[heater]]);
      if (typeof actual !== 'number') return false;
      this.#temperatures[heater] = { now: actual, target: typeof target === 'number' ? target : 0 };
      return true;
    });
  }

  /** Opens the socket and asks for the lines of the log that matter. */
  async #listen(api: OctoprintApi): Promise<void> {
    const { body } = await api.post('/api/login', utf8('{"passive":true}'));
    const { name, session } = record(body);
    const socket = await openTextSocket(
      `${this.#settings.url.replace(/^http/, 'ws')}/sockjs/websocket`,
      { server: 'OctoPrint', ...this.#settings },
      {
        message: (text) => this.#heard(text),
        lost: () => this.#fail(new MillraceError('E_MACHINE', 'the connection to OctoPrint has ended')),
      },
    );
    this.#socket = socket;
    const tell = (message: object) => socket.send(utf8(JSON.stringify(message)));
    tell({ subscribe: { state: { logs: logFilter, messages: false }, events: false, plugins: false } });
    tell({ auth: `${textOf(name)}:${textOf(session)}` });
  }

  /** Repeats a command until it is answered. */
  async #ask(command: string, answered: () => boolean): Promise<void> {
    const until = this.#now() + this.#settings.connectMs;
    while (!answered()) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#now() > until)
        throw new MillraceError('E_MACHINE', 'the printer behind OctoPrint does not answer, or its log cannot be read');
      await this.#post([utf8(command)]);
      const stop = AbortSignal.timeout(Math.min(ASK_MS, this.#settings.connectMs));
      while (!answered() && !stop.aborted) await this.#change.wait(stop).catch(() => undefined);
    }
  }

  async #stop(signal: AbortSignal): Promise<void> {
    // OctoPrint sends these two before what it has queued.
    await this.#post([utf8('M108'), utf8('M410')]);
    await this.#post(this.#settings.stopCommands.map(utf8));
    await this.#still(signal);
  }

  /** Waits until the printer has reached everything that was sent, and its moves have ended. */
  async #still(signal?: AbortSignal): Promise<void> {
    const mark = this.#batches.takeNumber();
    await this.#until(() => this.#batches.isEmpty, signal);
    this.#marks.add(mark);
    try {
      await this.#post([utf8('M400'), this.#mark(mark)]);
      await this.#until(() => !this.#marks.has(mark), signal);
    } finally {
      this.#marks.delete(mark);
    }
  }

  async #until(isDone: () => boolean, signal?: AbortSignal): Promise<void> {
    while (!isDone()) {
      if (this.#failure !== undefined) throw this.#failure;
      signal?.throwIfAborted();
      await this.#change.wait(signal);
    }
  }

  #mark(number: number): Uint8Array {
    return utf8(`M118 E1 millrace ${this.#run} ${number}`);
  }

  #send(id: number, commands: readonly Uint8Array[]): void {
    this.#post([...commands, this.#mark(id)]).catch((error) => this.#fail(toMillraceError(error)));
  }

  /** Posts commands, one request after the other, and wipes them. */
  #post(commands: readonly Uint8Array[]): Promise<void> {
    const body = jsonWith('{"commands":["', commands, '","', '"]}');
    for (const command of commands) command.fill(0);
    const send = async () => {
      const { status } = await this.#open().post('/api/printer/command', body);
      if (status === 409) throw lostPrinter();
      if (status !== 204)
        throw new MillraceError('E_MACHINE', `OctoPrint does not pass commands on (status ${status})`);
    };
    // After a failure, a request that waited is not sent.
    const posted = this.#posting.then(send).finally(() => body.fill(0));
    this.#posting = posted.catch(() => undefined);
    return posted;
  }

  #heard(text: string): void {
    const frame = parseFrame(text);
    if (frame === undefined || this.#failure !== undefined) return;
    if (frame.reauthenticate && this.#isReady)
      this.#fail(new MillraceError('E_MACHINE', 'OctoPrint has ended the session: connect again'));
    if (frame.current !== undefined) this.#current(frame.current);
    this.#change.notify();
  }

  #current({ state, temps, logs }: Current): void {
    const { tool0, bed, chamber } = temps?.at(-1) ?? {};
    const read = { hotend: tool0, bed, chamber };
    for (const heater of this.#heaters) {
      const { actual, target } = read[heater] ?? {};
      if (typeof actual === 'number') this.#temperatures[heater] = { now: actual, target: target ?? 0 };
    }
    for (const line of logs ?? []) this.#line(line);
    const { operational, closedOrError, error } = state.flags;
    if (operational === true) this.#isOperational = true;
    else if (this.#isReady && this.#isOperational && (closedOrError === true || error === true))
      this.#fail(lostPrinter());
  }

  #line(line: string): void {
    const reply = parseLog(line);
    if (reply.type === 'mark') {
      if (reply.run === this.#run) this.#reached(reply.number);
    } else if (reply.type === 'firmware') {
      this.#firmware = reply;
    } else if (!this.#running && !this.#stopping) {
      return;
    } else if (reply.type === 'unknown-command') {
      this.#events?.unknownCommand();
    } else if (reply.type === 'fault') {
      this.#fail(new MillraceError('E_MACHINE', `the printer stopped: ${reply.cause}`));
    } else if (reply.type === 'start') {
      this.#fail(new MillraceError('E_MACHINE', 'the printer was reset in the middle of the print: print again'));
    } else if (reply.type === 'busy' && reply.user) {
      this.#waitsForUser = true;
      this.#events?.paused(pausedThere);
    } else if (reply.type === 'action') {
      this.#action(reply.action);
    }
  }

  #reached(number: number): void {
    this.#marks.delete(number);
    const count = this.#batches.answered(number);
    if (count === 0) return;
    if (this.#waitsForUser) {
      this.#waitsForUser = false;
      this.#events?.resumed();
    }
    this.#events?.taken(count);
    this.#events?.room();
  }

  #action(action: string): void {
    if (['pause', 'paused', 'out_of_filament'].includes(action)) this.#events?.paused(pausedThere);
    else if (['resume', 'resumed'].includes(action)) this.#events?.resumed();
    else if (action === 'cancel' && this.#running)
      void this.cancel().then(
        () => this.#fail(new MillraceError('E_MACHINE', 'the print was cancelled at the printer')),
        () => undefined, // it has failed, and says why
      );
  }

  #fail(error: MillraceError): void {
    if (this.#failure !== undefined || this.#socket === undefined) return;
    const api = this.#api;
    this.#end(error);
    // A firmware that only complained keeps heating.
    void api?.post('/api/printer/command', utf8('{"commands":["M104 S0","M140 S0","M107"]}')).catch(() => undefined);
    if (this.#isReady) this.#events?.failed(error);
  }

  #end(error: MillraceError): void {
    this.#failure = error;
    this.#running = false;
    this.#batches.reset();
    this.#socket?.close();
    this.#change.notify();
  }

  #open(): OctoprintApi {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#api === undefined) throw new MillraceError('E_MACHINE', 'OctoPrint is not connected');
    return this.#api;
  }

  #now(): number {
    return this.#modules.clock.monotonic();
  }
}

const lostPrinter = () => new MillraceError('E_MACHINE', 'OctoPrint has lost its printer: check power and cable');
