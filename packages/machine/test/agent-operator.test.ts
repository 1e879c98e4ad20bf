import { rename, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { MillraceError, silentLogger, utf8 } from '@millrace/base';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, expect, test } from 'vitest';
import { type OperatorStatus, operate } from '../src/admin/index.ts';
import { createAgent } from '../src/agent/index.ts';
import { lineOf } from '../src/agent/operator-socket.ts';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

/** A design that takes ten minutes, at a factor of 1. */
const design = storeDesign(
  utf8('G4 P1000 ; a second, on a line that is long enough for several segments\n'.repeat(600)),
);

const start = async (factor: number): Promise<Bench> => {
  bench = await startBench({ design, kind: 'virtual', factor });
  return bench;
};

const begun = ({ cloud }: Bench) => cloud.until(() => cloud.reports.some(({ event }) => event === 'started'));

test('the operator pauses, resumes and cancels a print while the cloud is away', async () => {
  const { cloud, folder } = await start(1);
  await cloud.print();
  await begun({ cloud } as Bench);
  cloud.meddling = { refuse: () => new MillraceError('E_UNAVAILABLE', 'the cloud is away') };
  cloud.cut();

  const paused = await operate(folder, { command: 'pause', cause: 'a cable hangs loose' });
  expect(paused).toMatchObject({ state: 'paused', prints: true, pause: { actor: 'operator' } });
  await expect(operate(folder, { command: 'pause' })).rejects.toMatchObject({ code: 'E_STATE' });
  expect(await operate(folder, { command: 'resume' })).toMatchObject({ state: 'running' });
  await expect(operate(folder, { command: 'resume' })).rejects.toMatchObject({ code: 'E_STATE' });
  expect(await operate(folder, { command: 'cancel', cause: 'the first layer is loose' })).toMatchObject({
    state: 'idle',
    prints: false,
  });
  await expect(operate(folder, { command: 'cancel' })).rejects.toMatchObject({ code: 'E_STATE' });

  // What happened is told when the cloud is back, in its order.
  cloud.meddling = {};
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  const told = cloud.reports.map(({ facts }) => facts).filter(({ halt, resumed }) => halt ?? resumed);
  expect(told).toMatchObject([
    { halt: { actor: 'operator', cause: 'a cable hangs loose', nextStep: expect.stringContaining('resume') } },
    { resumed: true },
    { code: 'E_STOPPED', halt: { actor: 'operator', cause: 'the first layer is loose' } },
  ]);
});

test('after an emergency stop the machine takes no work until it is resumed, whatever is restarted', async () => {
  const { cloud, folder, restart } = await start(200);
  await cloud.print();
  await begun({ cloud } as Bench);
  expect(await operate(folder, { command: 'stop', cause: 'smoke' })).toMatchObject({ held: { cause: 'smoke' } });
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  expect(cloud.reports.at(-1)?.facts).toMatchObject({ code: 'E_STOPPED', halt: { actor: 'operator', cause: 'smoke' } });

  cloud.queue.length = 0;
  await cloud.print();
  await restart();
  expect(await operate(folder, { command: 'status' })).toMatchObject({ held: { cause: 'smoke' }, prints: false });
  const requests = cloud.requests.length;
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(cloud.requests.length).toBe(requests);

  expect((await operate(folder, { command: 'resume' })).held).toBeUndefined();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
});

test('a paused print does not begin again after a restart until it is resumed', async () => {
  const { cloud, folder, restart } = await start(200);
  await cloud.print();
  await begun({ cloud } as Bench);
  await operate(folder, { command: 'pause', cause: 'a cable hangs loose' });
  await cloud.print();
  await restart();
  expect(await operate(folder, { command: 'status' })).toMatchObject({
    held: { cause: 'a cable hangs loose' },
    prints: false,
  });
  expect(bench?.agent.status()).toMatchObject({ step: 'held', held: 'a cable hangs loose' });
  await operate(folder, { command: 'resume' });
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
});

test('the end of a paused print ends its pause', async () => {
  const { cloud, folder } = await start(200);
  await cloud.print();
  await begun({ cloud } as Bench);
  await operate(folder, { command: 'pause' });
  expect((await operate(folder, { command: 'cancel' })).held).toBeUndefined();
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
});

test.each(['before', 'after'])('a pause just %s a run begins holds it before its first line', async (when) => {
  let paused: Promise<OperatorStatus> | undefined;
  bench = await startBench({
    ...{ design, kind: 'virtual', factor: 200 },
    wrapDriver: (driver) => {
      const begin = driver.begin.bind(driver);
      const pause = async () => {
        paused = operate((bench as Bench).folder, { command: 'pause', cause: 'a hand is in the machine' });
        await paused;
      };
      driver.begin = async () => {
        if (when === 'before') await pause();
        await begin();
        if (when === 'after') await pause();
      };
      return driver;
    },
  });
  const { cloud, folder, executed } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ facts }) => facts.halt !== undefined));
  expect(await paused).toMatchObject({ held: { cause: 'a hand is in the machine' } });
  const { state, pause } = await operate(folder, { command: 'status' });
  expect({ state, pause }).toMatchObject({ state: 'paused', pause: { cause: 'a hand is in the machine' } });
  expect(executed()).toHaveLength(0);
  await operate(folder, { command: 'resume' });
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
});

test('a machine that is paused while it is idle begins no print', async () => {
  const { cloud, folder } = await start(200);
  expect(await operate(folder, { command: 'pause' })).toMatchObject({ prints: false, held: {} });
  await cloud.print();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(cloud.reports).toEqual([]);
  await operate(folder, { command: 'resume' });
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
});

test('the socket is for the agent’s user only, and takes nothing but commands', async () => {
  const { config, folder, agent } = await start(200);
  const path = join(config.folder, 'agent.sock');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  const say = (text: string) =>
    new Promise<string>((resolve, reject) => {
      let answer = '';
      const socket = connect(path, () => socket.write(text));
      socket.on('data', (bytes) => {
        answer += bytes.toString();
      });
      socket.on('close', () => resolve(answer));
      socket.on('error', reject);
    });
  for (const text of [
    'stop\n',
    '{"command":"open"}\n',
    '{"command":"stop","cause":"\\u001b[2J"}\n',
    `{"command":"stop","cause":"${'x'.repeat(201)}"}\n`,
    '{"command":"stop","signed":true}\n',
    'x'.repeat(10_000),
  ])
    expect(JSON.parse(await say(text))).toMatchObject({ error: { code: 'E_INPUT' } });
  expect((await operate(folder, { command: 'status' })).held).toBeUndefined();
  await agent.close();
  await expect(operate(folder, { command: 'stop' })).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
});

test('a second agent for the same folder is refused, and the first keeps its socket', async () => {
  const { cloud, config, folder } = await start(200);
  const second = () => createAgent({ config, distribution: () => cloud.address }, { logger: silentLogger });
  await expect(second()).rejects.toMatchObject({ code: 'E_STATE' });
  expect(await operate(folder, { command: 'pause' })).toMatchObject({ held: {} });
  // The socket of an agent that was killed is no obstacle.
  await bench?.agent.close();
  const killed = createServer().listen(join(folder, 'killed.sock'));
  await rename(join(folder, 'killed.sock'), join(folder, 'agent.sock'));
  await new Promise((resolve) => killed.close(resolve));
  await bench?.restart();
  expect(await operate(folder, { command: 'status' })).toMatchObject({ held: {} });
});

test('connections to the socket are bounded in number, length and time', async () => {
  const { config } = await start(200);
  const sockets = Array.from({ length: 70 }, () => connect(join(config.folder, 'agent.sock')));
  let refused = 0;
  await new Promise<void>((resolve) => {
    for (const socket of sockets) {
      let heard = 0;
      socket.on('error', () => undefined);
      socket.on('data', ({ length }) => {
        heard += length;
      });
      socket.on('close', () => {
        if (heard === 0 && ++refused === 6) resolve();
      });
    }
  });
  for (const socket of sockets) socket.destroy();

  // One that sends a byte now and then is not idle.
  const path = join(config.folder, 'slow.sock');
  const line = new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      lineOf(socket, { ms: 200 }).then(resolve, reject);
      server.close();
    }).listen(path);
  });
  const slow = connect(path);
  const dripping = setInterval(() => slow.write('x'), 20);
  await expect(line)
    .rejects.toMatchObject({ code: 'E_INPUT' })
    .finally(() => clearInterval(dripping));
  slow.destroy();
});
