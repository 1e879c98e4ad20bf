import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { utf8 } from '@millrace/base';
import { builtInDrivers } from '@millrace/machine';
import { type Bench, type Candidate, measure } from './bench.ts';

const SERIAL = 'SN-1';
const PER_SECOND = 1_000;
const SECONDS = 3;
const RUNS = 5;
/** Lines for the highest rate. */
const FLOOD = 20_000;
/** Lines that may be unanswered, as with the driver's default settings. */
const WINDOW = 4;

/** Receives lines. `send` resolves when the next one may be sent. */
interface Receiver {
  send(lines: string): Promise<void>;
  /** Resolves when every line was received. */
  drain(): Promise<void>;
}

const line = (number: number) => `G1X${number}.5Y10E0.02F3000\n`;

/**
 * From a line of the design resolved to the line written, at 1,000 lines a second, and the highest rate, for the
 * Marlin driver over a local socket, beside a plain socket with the same window. The controller answers `ok` to each
 * line at once. `npm run bench -- machine`.
 */
export const benchMachine: Bench = async () => {
  const controller = await AnsweringController.listen();
  const driver = await builtInDrivers().create('marlin', {
    serial: SERIAL,
    port: `tcp://127.0.0.1:${controller.port}`,
  });
  const socket = connect(controller.port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    const plain = new PlainLines(socket);
    await driver.connect({ serial: SERIAL });
    const marlin: Receiver = { send: (lines) => driver.write(utf8(lines)), drain: () => driver.drain() };
    const latency = (name: string, receiver: Receiver, quantile: number): Candidate => ({
      name,
      unit: 'ms',
      run: async () => {
        if (receiver === marlin) await driver.begin();
        return at(await latencies(controller, receiver), quantile);
      },
    });
    const rate = (name: string, receiver: Receiver): Candidate => ({
      name,
      unit: 'lines/s',
      run: async () => {
        if (receiver === marlin) await driver.begin();
        return highestRate(receiver);
      },
    });
    return await measure(
      [
        latency('Marlin: resolved to received, median', marlin, 0.5),
        latency('Marlin: resolved to received, p99', marlin, 0.99),
        latency('plain socket: resolved to received, p99', plain, 0.99),
        rate('Marlin: highest rate', marlin),
        rate('plain socket: highest rate', plain),
      ],
      RUNS,
      [
        ['p99, Marlin : plain socket', 'Marlin: resolved to received, p99', 'plain socket: resolved to received, p99'],
        ['highest rate, Marlin : plain socket', 'Marlin: highest rate', 'plain socket: highest rate'],
      ],
    );
  } finally {
    await driver.close();
    socket.destroy();
    await controller.close();
  }
};

/** Milliseconds of each line from its time in a schedule of 1,000 a second until the controller has it. */
async function latencies(controller: AnsweringController, receiver: Receiver): Promise<number[]> {
  const count = PER_SECOND * SECONDS;
  const resolved: number[] = [];
  controller.received.clear();
  let sent = 0;
  const begin = performance.now();
  while (sent < count) {
    const due = Math.min(count, Math.floor(((performance.now() - begin) * PER_SECOND) / 1_000));
    if (due === sent) {
      await sleep(1);
      continue;
    }
    let lines = '';
    for (; sent < due; sent++) {
      resolved[sent] = begin + ((sent + 1) * 1_000) / PER_SECOND;
      lines += line(sent);
    }
    await receiver.send(lines);
  }
  await receiver.drain();
  return resolved.map((time, number) => (controller.received.get(number) ?? Number.POSITIVE_INFINITY) - time);
}

async function highestRate(receiver: Receiver): Promise<number> {
  const begin = performance.now();
  for (let from = 0; from < FLOOD; from += 100)
    await receiver.send(Array.from({ length: 100 }, (_, i) => line(from + i)).join(''));
  await receiver.drain();
  return (FLOOD * 1_000) / (performance.now() - begin);
}

function at(values: readonly number[], quantile: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * quantile) - 1] ?? Number.NaN;
}

/** Writes lines with at most `WINDOW` of them unanswered. */
class PlainLines implements Receiver {
  readonly #socket: Socket;
  readonly #waiting: string[] = [];
  #unanswered = 0;
  #changed: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    createInterface({ input: socket }).on('line', () => {
      this.#unanswered--;
      this.#write();
      this.#changed();
    });
  }

  async send(lines: string): Promise<void> {
    this.#waiting.push(...lines.split(/(?<=\n)/));
    this.#write();
    while (this.#waiting.length > 0) await this.#change();
  }

  async drain(): Promise<void> {
    while (this.#unanswered > 0) await this.#change();
  }

  #write(): void {
    while (this.#unanswered < WINDOW) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#unanswered++;
      this.#socket.write(next);
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve;
    });
  }
}

/** Answers every line with `ok`, and the questions of a driver as Marlin does. */
class AnsweringController {
  /** Number of a line → when it was received, on the clock of `performance.now`. */
  readonly received = new Map<number, number>();
  readonly #server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    createInterface({ input: socket }).on('line', (text) => {
      const number = /G1X(\d+)/.exec(text)?.[1];
      if (number !== undefined) this.received.set(Number(number), performance.now());
      if (text.includes('M115')) socket.write(`FIRMWARE_NAME:Marlin 2.1.2 UUID:${SERIAL}\n`);
      socket.write(text.includes('M105') ? 'ok T:20.0 /0.0 B:20.0 /0.0\n' : 'ok\n');
    });
  });

  static async listen(): Promise<AnsweringController> {
    const controller = new AnsweringController();
    controller.#server.listen(0, '127.0.0.1');
    await once(controller.#server, 'listening');
    return controller;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  async close(): Promise<void> {
    this.#server.close();
    await once(this.#server, 'close');
  }
}
