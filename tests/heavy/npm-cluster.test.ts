import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { engineEnvironment } from '@millrace/testkit/engines';
import { freePort } from '@millrace/testkit/hosts';
import { expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../scripts/cluster.mjs', import.meta.url));
const engine = (name: string) => fileURLToPath(new URL(`../../scripts/cluster/${name}.sh`, import.meta.url));

it('npm run cluster starts everything, goes on where it was, and leaves nothing behind', async ({ skip }) => {
  if (spawnSync('java', ['-version']).status !== 0) return skip('there is no Java: the cluster is not started');
  const home = await mkdtemp(join(tmpdir(), 'millrace-npm-cluster-'));
  const engines = join(home, 'engines');
  const [control, distribution, pages] = [await freePort(), await freePort(), await freePort()];
  const env = {
    ...(await engineEnvironment('cassandra', engines)),
    ...(await engineEnvironment('kafka', engines)),
    ...{ CASS_SECURE: '0', KAFKA_SECURE: '0' },
    MILLRACE_CONTROL_PORT: String(control),
    MILLRACE_DISTRIBUTION_PORT: String(distribution),
    MILLRACE_CONSOLE_PORT: String(pages),
  };
  const running = async (name: string) => (await promisify(execFile)(engine(name), ['status'], { env })).stdout;
  try {
    for (const name of ['cassandra', 'kafka'])
      try {
        await promisify(execFile)(engine(name), ['fetch'], { env });
      } catch {
        return skip(`${name} cannot be fetched: the cluster is not started`);
      }
    const first = await promisify(execFile)(process.execPath, [program, '--once', '--home', home], { env });
    expect(first.stdout).toContain(`http://localhost:${pages}/#/session/`);
    for (const name of ['cassandra', 'kafka']) expect(await running(name)).toMatch(/^node 1 down$/m);
    // State is in the cluster: control has no LMDB.
    expect(existsSync(join(home, 'hosts/control/data/data.mdb'))).toBe(false);
    expect(await readFile(join(home, 'hosts/control/keyspace'), 'utf8')).toContain('mail: Kafka');

    const again = spawn(process.execPath, [program, '--home', home], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((resolve) => again.once('exit', resolve));
    let said = '';
    await new Promise<void>((resolve) => {
      again.stdout.on('data', (text) => {
        said += text;
        if (said.includes('Everything runs')) resolve();
      });
      void ended.then(() => resolve());
    });
    expect((await fetch(`http://localhost:${pages}/`)).status).toBe(200);
    again.kill('SIGINT');
    expect(await ended, said).toBe(0);
    for (const name of ['cassandra', 'kafka']) expect(await running(name)).toMatch(/^node 1 down$/m);
    await expect(fetch(`http://localhost:${pages}/`)).rejects.toThrow();
  } finally {
    for (const name of ['cassandra', 'kafka']) await promisify(execFile)(engine(name), ['down'], { env });
    await rm(home, { recursive: true, force: true });
  }
});
