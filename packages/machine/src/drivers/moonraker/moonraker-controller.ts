import { Condition, type Logger, MillraceError, toMillraceError, utf8 } from '@millrace/base';
import type { Heater } from '@millrace/protocol';
import type { Capabilities, Heat, MachineIdentity, Pause, Telemetry } from '../contract.ts';
import { apiKeyHeaders } from '../controller/api-key.ts';
import { Batches } from '../controller/batches.ts';
import type { Controller, ControllerEvents, Readings } from '../controller/controller.ts';
import { printerCapabilities } from '../controller/controller-settings.ts';
import { identityOf } from '../controller/identity.ts';
import { record, textOf } from '../controller/json.ts';
import { stopSafely } from '../controller/safe-stop.ts';
import { boardSerial, parseOutput, parseStatus, type Status } from './parser.ts';
import { Rpc } from './rpc.ts';
import type { MoonrakerSettings } from './settings.ts';

/** Asks Moonraker for something, while it is being connected. */
type Ask = (method: string, params?: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>>>;

/** Klipper's objects by heater. */
const heaterObjects: Readonly<Record<Heater, 'extruder' | 'heater_bed' | 'heater_generic chamber'>> = {
  hotend: 'extruder',
  bed: 'heater_bed',
  chamber: 'heater_generic chamber',
};

const pausedThere: Pause = {
  actor: 'controller',
  cause: 'Klipper is paused: by its filament sensor, or by a person',
  nextStep: 'resume in the printer’s interface, or resume the run',
};

/** Talks to Klipper through Moonraker. */
export class MoonrakerController implements Controller {
  readonly maxCommand = 1_024;
  readonly #settings: MoonrakerSettings;
  readonly #logger: Logger;
  readonly #batches: Batches;
  readonly #change = new Condition();
  #events: ControllerEvents | undefined;
  #rpc: Rpc | undefined;
  #failure: MillraceError | undefined;
  #heaters: readonly Heater[] = printerCapabilities.heaters;
  #temperatures: Partial<Record<Heater, Heat>> = {};
  #position: Telemetry['position'] | undefined;
  #isPaused = false;
  #running = false;
  #stopping = false;

  constructor(settings: MoonrakerSettings, logger: Logger) {
    this.#settings = settings;
    this.#logger = logger;
    const { lines, requests } = settings.window;
    this.#batches = new Batches({ lines, inFlight: requests, send: (id, commands) => void this.#send(id, commands) });
  }

  get capabilities(): Capabilities {
    return { ...printerCapabilities, heaters: this.#heaters };
  }

  async connect(expected: { readonly serial: string }, events: ControllerEvents): Promise<MachineIdentity> {
    await this.close();
    this.#events = events;
    this.#failure = undefined;
    const { url, apiKeyFile, connectMs } = this.#settings;
    const headers = await apiKeyHeaders(apiKeyFile);
    const rpc = await Rpc.open(`${url.replace(/^http/, 'ws')}/websocket`, this.#settings, headers, {
      notified: (method, params) => this.#notified(method, params),
      lost: () => this.#fail(new MillraceError('E_MACHINE', 'the connection to Moonraker has ended')),
    });
    const signal = AbortSignal.timeout(connectMs);
    try {
      const ask: Ask = async (method, params = {}) => record(await rpc.call(method, params, signal));
      const identity = await this.#introduce(ask, headers['X-Api-Key'], expected);
      await this.#subscribe(ask);
      this.#rpc = rpc;
      this.#logger.info({ url, firmware: identity.firmware }, 'Klipper connected');
      return identity;
    } catch (error) {
      rpc.close();
      throw signal.aborted ? new MillraceError('E_MACHINE', 'Moonraker does not answer', { cause: error }) : error;
    }
  }

  async begin(modes: readonly string[]): Promise<undefined> {
    if (this.#isPaused) throw new MillraceError('E_MACHINE', 'Klipper is paused: resume or cancel it there');
    this.#batches.reset();
    if (modes.length > 0) await this.#open().script(modes.map(utf8));
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
    if (this.#isPaused) await this.#open().script([utf8('RESUME')]);
  }

  async cancel(): Promise<void> {
    if (this.#rpc === undefined || this.#failure !== undefined) return;
    this.#running = false;
    this.#stopping = true;
    this.#batches.reset();
    const failure = () => this.#failure;
    try {
      await stopSafely(
        { machine: 'printer', logger: this.#logger, failure, emergencyStop: () => this.emergencyStop() },
        () => this.#stop(AbortSignal.timeout(this.#settings.cancelMs)),
      );
    } finally {
      this.#stopping = false;
    }
  }

  async emergencyStop(): Promise<void> {
    const rpc = this.#rpc;
    if (rpc === undefined || this.#failure !== undefined) return;
    const stopped = rpc.call('printer.emergency_stop', {}, AbortSignal.timeout(this.#settings.connectMs));
    this.#failure = new MillraceError('E_MACHINE', 'the printer was stopped in an emergency');
    this.#batches.reset();
    this.#change.notify();
    await stopped.catch(() => undefined);
    rpc.close();
  }

  readings(): Readings {
    return { temperatures: this.#temperatures, position: this.#position };
  }

  async close(): Promise<void> {
    this.#rpc?.close();
    this.#rpc = undefined;
    this.#running = false;
    this.#batches.reset();
    this.#change.notify();
  }

  async #introduce(ask: Ask, apiKey: string | undefined, expected: { readonly serial: string }) {
    await ask('server.connection.identify', {
      client_name: 'millrace',
      version: '0.1.0',
      type: 'other',
      url: 'https://doi.org/10.1109/ACCESS.2019.2946730',
      ...(apiKey === undefined ? {} : { api_key: apiKey }),
    });
    const { state, software_version } = await ask('printer.info');
    if (state !== 'ready')
      throw new MillraceError('E_MACHINE', `Klipper is not ready (${textOf(state)}): see its console, restart it`);
    const firmware = `Klipper ${textOf(software_version)}`.slice(0, 64);
    const machine = { kind: 'moonraker', firmware, serials: await serialsOf(ask) };
    return identityOf(machine, expected, this.#settings.trustSerial);
  }

  async #subscribe(ask: Ask): Promise<void> {
    const list = (await ask('printer.objects.list')).objects;
    const objects: readonly unknown[] = Array.isArray(list) ? list : [];
    this.#heaters = printerCapabilities.heaters.filter((heater) => objects.includes(heaterObjects[heater]));
    const wanted = [
      ['gcode_move', ['gcode_position']],
      ['pause_resume', ['is_paused']],
      ...this.#heaters.map((heater) => [heaterObjects[heater], ['temperature', 'target']] as const),
    ] as const;
    const present = wanted.filter(([name]) => objects.includes(name));
    const { status } = await ask('printer.objects.subscribe', { objects: Object.fromEntries(present) });
    this.#isPaused = false;
    this.#update(parseStatus(status));
  }

  async #stop(signal: AbortSignal): Promise<void> {
    await this.#open().script(this.#settings.stopCommands.map(utf8), signal);
    await this.#open().script([utf8('M400')], signal);
  }

  /** Waits until the moves have ended. */
  async #still(signal?: AbortSignal): Promise<void> {
    while (!this.#batches.isEmpty) {
      if (this.#failure !== undefined) throw this.#failure;
      await this.#change.wait(signal);
    }
    await this.#open().script([utf8('M400')], signal);
  }

  async #send(id: number, commands: readonly Uint8Array[]): Promise<void> {
    try {
      await this.#open().script(commands);
    } catch (error) {
      return this.#fail(toMillraceError(error));
    }
    const count = this.#batches.answered(id);
    if (count > 0) this.#events?.taken(count);
    this.#events?.room();
    this.#change.notify();
  }

  #notified(method: string, params: readonly unknown[]): void {
    if (method === 'notify_status_update') this.#update(parseStatus(params[0]));
    else if (method === 'notify_gcode_response' && typeof params[0] === 'string') this.#output(params[0]);
    else if (method === 'notify_klippy_shutdown')
      this.#fail(new MillraceError('E_MACHINE', 'Klipper has shut down: see its console, then restart the firmware'));
    else if (method === 'notify_klippy_disconnected')
      this.#fail(new MillraceError('E_MACHINE', 'Klipper was stopped or restarted in the middle of the run'));
  }

  #output(line: string): void {
    if (!this.#running && !this.#stopping) return;
    const output = parseOutput(line);
    if (output.type === 'unknown-command') this.#events?.unknownCommand();
    else if (output.type === 'fault')
      this.#fail(new MillraceError('E_MACHINE', `the printer stopped: ${output.cause}`));
    else if (output.type === 'action') this.#action(output.action);
  }

  #action(action: string): void {
    if (action === 'pause' || action === 'paused') this.#events?.paused(pausedThere);
    else if (action === 'resume' || action === 'resumed') this.#events?.resumed();
    else if (action === 'cancel' && this.#running)
      void this.cancel().then(
        () => this.#fail(new MillraceError('E_MACHINE', 'the print was cancelled at the printer')),
        () => undefined, // it has failed, and says why
      );
  }

  #update(status: Status | undefined): void {
    if (status === undefined) return;
    for (const heater of this.#heaters) {
      const { temperature, target } = status[heaterObjects[heater]] ?? {};
      const before = this.#temperatures[heater] ?? { now: 0, target: 0 };
      this.#temperatures[heater] = { now: temperature ?? before.now, target: target ?? before.target };
    }
    const [x, y, z] = status.gcode_move?.gcode_position ?? [];
    if (x !== undefined && y !== undefined && z !== undefined) this.#position = { x, y, z };
    const isPaused = status.pause_resume?.is_paused;
    if (typeof isPaused !== 'boolean' || isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (!this.#running) return;
    if (isPaused) this.#events?.paused(pausedThere);
    else this.#events?.resumed();
  }

  /** Heaters stay on after an error of a line, so they are switched off before the connection ends. */
  #fail(error: MillraceError): void {
    const rpc = this.#rpc;
    if (this.#failure !== undefined || rpc === undefined) return;
    this.#failure = error;
    this.#running = false;
    this.#batches.reset();
    this.#change.notify();
    void rpc
      .script(this.#settings.stopCommands.map(utf8), AbortSignal.timeout(this.#settings.connectMs))
      .catch(() => undefined)
      .then(() => rpc.close());
    this.#events?.failed(error);
  }

  #open(): Rpc {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#rpc === undefined) throw new MillraceError('E_MACHINE', 'Moonraker is not connected');
    return this.#rpc;
  }
}

/** The serial numbers of the printer's board and of the computer beside it. */
async function serialsOf(ask: Ask): Promise<(string | undefined)[]> {
  const { status } = await ask('printer.objects.query', { objects: { configfile: ['settings'] } });
  const settings = record(record(record(status).configfile).settings);
  const system = record((await ask('machine.system_info')).system_info);
  return [boardSerial(settings.mcu), textOf(record(system.cpu_info).serial_number)];
}
