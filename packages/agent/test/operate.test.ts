import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Operation, operateMachine, operationIn } from '../src/operate.ts';

let folder: string;
const servers: Server[] = [];
const asked: [slot: string, request: unknown][] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-site-'));
  asked.length = 0;
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await rm(folder, { recursive: true, force: true });
});

/** An agent that only answers at its socket. */
async function addAgent(slot: string, name: string): Promise<void> {
  const own = join(folder, 'machines', slot);
  await mkdir(own, { recursive: true });
  await writeFile(join(own, 'cloud.json'), JSON.stringify({ name, distribution: { host: 'localhost', port: 7_602 } }));
  const held = { cause: 'smoke', since: 1 };
  const server = createServer((socket) =>
    socket.once('data', (line: Buffer) => {
      asked.push([slot, JSON.parse(line.toString())]);
      socket.end(`${JSON.stringify({ status: { state: 'idle', prints: false, held } })}\n`);
    }),
  );
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(join(own, 'agent.sock'), resolve));
}

const run = (...args: string[]) => operateMachine(operationIn([...args, '--folder', folder], {}) as Operation);

it('commands the machine that is named by its number or name, or the only one', async () => {
  await addAgent('1', 'mk3');
  expect(await run('stop', '--cause', 'smoke')).toBe(
    'Machine mk3 is idle; no print is under way.\nHeld: smoke. It takes no work until `resume`.',
  );
  await addAgent('2', 'mill');
  await run('pause', '2');
  await run('resume', 'mill');
  expect(asked).toEqual([
    ['1', { command: 'stop', cause: 'smoke' }],
    ['2', { command: 'pause' }],
    ['2', { command: 'resume' }],
  ]);
  await expect(run('stop')).rejects.toMatchObject({ code: 'E_INPUT', message: 'name the machine: 1 (mk3), 2 (mill)' });
  await expect(run('stop', '3')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  servers[0]?.close();
  await expect(run('stop', '1')).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
});

it('takes nothing else for a command', () => {
  expect(operationIn(['--folder', folder, '--add-machine'], {})).toBeUndefined();
  expect(operationIn(['status'], { MILLRACE_AGENT_FOLDER: folder })).toMatchObject({ folder });
  for (const args of [['stop'], ['stop', '1', '2', '--folder', folder], ['stop', '--now', '--folder', folder]])
    expect(() => operationIn(args, {})).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
});
