import type { WebSocket } from 'ws';
import { Executed } from './executed.ts';
import { type ServedWeb, serveWeb } from './serve-web.ts';

export interface MoonrakerSimulatorOptions {
  /** Serial number in the link of the printer's board. */
  readonly board?: string;
  readonly apiKey?: string;
  /** Real milliseconds for each second of G4. */
  readonly msPerSecond?: number;
  readonly faults?: MoonrakerFaults;
}

/** What goes wrong: numbers count commands. */
export interface MoonrakerFaults {
  readonly errorAt?: number;
  readonly shutdownAt?: number;
  /** Klipper is restarted. */
  readonly restartAt?: number;
  readonly runoutAt?: number;
  readonly dropAt?: number;
  /** Sends messages that nobody asked for. */
  readonly chatter?: boolean;
}

interface Request {
  readonly id: number;
  readonly method: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

/** Moonraker with a Klipper behind it, as their documentation describes them. */
export class MoonrakerSimulator extends Executed {
  readonly #options: MoonrakerSimulatorOptions;
  /** Most commands in one request. */
  largest = 0;
  state: 'ready' | 'shutdown' = 'ready';
  isPaused = false;
  target = { extruder: 0, heater_bed: 0 };
  #commands = 0;
  #position = [0, 0, 0, 0];
  #queue: Promise<void> = Promise.resolve();
  #stop: () => void = () => undefined;
  #served: ServedWeb | undefined;

  constructor(options: MoonrakerSimulatorOptions = {}) {
    super(/^(M400|RESUME|TURN_OFF_HEATERS|M107)$/);
    this.#options = options;
  }

  get url(): string {
    return this.#served?.url ?? '';
  }

  async listen(): Promise<this> {
    const { apiKey } = this.#options;
    this.#served = await serveWeb({
      path: '/websocket',
      admits: (headers) => apiKey === undefined || headers['x-api-key'] === apiKey,
      answer: (_, response) => response.writeHead(404).end(),
      connected: (socket) => {
        socket.on('message', (data) => this.#request(socket, JSON.parse(data.toString()) as Request));
        // A new connection comes after a restart of the firmware.
        this.state = 'ready';
      },
    });
    return this;
  }

  drop(): void {
    this.#served?.drop();
  }

  async close(): Promise<void> {
    this.#stop();
    await this.#served?.close();
  }

  /** A person resumes in the printer's interface. */
  resume(): void {
    this.#setPaused(false);
  }

  #request(socket: WebSocket, { id, method, params = {} }: Request): void {
    const answer = (result: unknown) => socket.send(JSON.stringify({ jsonrpc: '2.0', id, result }));
    const refuse = (message: string) =>
      socket.send(JSON.stringify({ jsonrpc: '2.0', id, error: { code: 400, message } }));
    if (method === 'server.connection.identify') answer({ connection_id: 1 });
    else if (method === 'printer.info')
      answer({ state: this.state, software_version: 'v0.12.0-1', hostname: 'printer' });
    else if (method === 'machine.system_info') answer({ system_info: { cpu_info: { serial_number: '' } } });
    else if (method === 'printer.objects.list')
      answer({ objects: ['extruder', 'heater_bed', 'gcode_move', 'pause_resume', 'print_stats', 'toolhead'] });
    else if (method === 'printer.objects.query')
      answer({
        status: {
          configfile: {
            settings: {
              mcu: { serial: `/dev/serial/by-id/usb-Klipper_stm32f446xx_${this.#options.board ?? ''}-if00` },
            },
          },
        },
      });
    else if (method === 'printer.objects.subscribe') answer({ eventtime: 1, status: this.#status() });
    else if (method === 'printer.emergency_stop') {
      this.#shutDown();
      answer('ok');
    } else if (method === 'printer.gcode.script') {
      const commands = String(params.script).split('\n');
      this.largest = Math.max(this.largest, commands.length);
      // Klipper executes one script after the other.
      this.#queue = this.#queue.then(async () => {
        const error = await this.#execute(commands);
        if (error === undefined) answer('ok');
        else refuse(error);
      });
    } else refuse(`Method not found: ${method}`);
  }

  async #execute(commands: readonly string[]): Promise<string | undefined> {
    const { errorAt, shutdownAt, restartAt, runoutAt, dropAt, chatter } = this.#options.faults ?? {};
    for (const command of commands) {
      if (this.state === 'shutdown') return 'Klipper is in shutdown';
      this.#commands += 1;
      if (this.#commands === errorAt) {
        // The text quotes the line, as Klipper's errors do.
        this.#notify('notify_gcode_response', [`!! Move out of range: ${command}`]);
        return `{'error': 'WebRequestError', 'message': 'Move out of range: ${command}'}`;
      }
      if (this.#commands === shutdownAt) {
        this.#shutDown();
        return 'Lost communication with MCU';
      }
      if (this.#commands === restartAt) {
        this.#notify('notify_klippy_disconnected', []);
        return 'Klippy Disconnected';
      }
      if (this.#commands === dropAt) this.drop();
      if (this.#commands === runoutAt) {
        this.#notify('notify_gcode_response', ['// action:paused']);
        this.#setPaused(true);
      }
      if (chatter && this.#commands % 7 === 0) {
        this.#notify('notify_gcode_response', ['B:25.0 /0.0 T0:24.0 /0.0']);
        this.#notify('notify_proc_stat_update', [{ websocket_connections: 1 }]);
        for (const socket of this.#served?.sockets ?? []) socket.send('not json');
      }
      this.executed.push(command);
      await this.#perform(command);
    }
    return undefined;
  }

  async #perform(command: string): Promise<void> {
    const { msPerSecond = 0 } = this.#options;
    if (/^(UNKNOWN|M9999)/.test(command)) this.#notify('notify_gcode_response', [`// Unknown command:"${command}"`]);
    const [, code, value] = /^(M10[49]|M1[49]0) S(\d+)/.exec(command) ?? [];
    if (code !== undefined) this.target[/^M10/.test(code) ? 'extruder' : 'heater_bed'] = Number(value);
    if (command === 'TURN_OFF_HEATERS') this.target = { extruder: 0, heater_bed: 0 };
    if (command === 'RESUME') this.#setPaused(false);
    ['X', 'Y', 'Z'].forEach((letter, axis) => {
      const at = new RegExp(`^G[01] .*${letter}(-?[\\d.]+)`).exec(command)?.[1];
      if (at !== undefined) this.#position[axis] = Number(at);
    });
    if (this.#commands % 50 === 0 || code !== undefined) this.#notify('notify_status_update', [this.#status(), 1]);
    const seconds = Number(/^G4 S(\d+)/.exec(command)?.[1] ?? (/^M1[09][09] S/.test(command) ? 10 : 0));
    const ms = seconds * msPerSecond;
    if (ms === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#stop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #status() {
    return {
      extruder: { temperature: this.target.extruder, target: this.target.extruder },
      heater_bed: { temperature: this.target.heater_bed, target: this.target.heater_bed },
      gcode_move: { gcode_position: this.#position },
      pause_resume: { is_paused: this.isPaused },
      print_stats: { state: 'standby' },
    };
  }

  #setPaused(isPaused: boolean): void {
    this.isPaused = isPaused;
    this.#notify('notify_status_update', [{ pause_resume: { is_paused: isPaused } }, 1]);
  }

  #shutDown(): void {
    this.state = 'shutdown';
    this.target = { extruder: 0, heater_bed: 0 };
    this.#stop();
    this.#notify('notify_klippy_shutdown', []);
  }

  #notify(method: string, params: readonly unknown[]): void {
    for (const socket of this.#served?.sockets ?? []) socket.send(JSON.stringify({ jsonrpc: '2.0', method, params }));
  }
}
