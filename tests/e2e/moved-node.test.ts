import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, createLogger, noMetrics, silentLogger, systemClock, systemRandom } from '@millrace/base';
import { chooseAddresses, initInstallation, openInstallation, openUser, publish, spread } from '@millrace/cli/parts';
import { createApi } from '@millrace/client';
import { connectNodes } from '@millrace/client/node';
import { loadNodeConfig, runControlNode, runKeysNode } from '@millrace/cloud/parts';
import type { Address } from '@millrace/protocol';
import { plainUsers } from '@millrace/testkit/test-installation';
import { expect, it, vi } from 'vitest';

const eventually = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 60_000, interval: 100 });
const anyPort = { control: undefined, distribution: undefined, ledger: undefined };

it('control moves to another port: a running keys node and a client follow the directory', async () => {
  const closer = new Closer();
  try {
    const folder = await mkdtemp(join(tmpdir(), 'millrace moved '));
    closer.add({ close: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) });
    const home = join(folder, 'home');
    const { layout } = await initInstallation({ home, users: plainUsers, clock: systemClock, random: systemRandom });
    const installation = await openInstallation(home);
    const addresses = await chooseAddresses({}, anyPort);
    const modules = { logger: silentLogger, clock: systemClock, metrics: noMetrics };
    const runControl = async (address: Address) =>
      runControlNode({ config: await loadNodeConfig(layout.node('control')), address }, modules);

    const first = await runControl(addresses.control);
    const log: string[] = [];
    const logger = createLogger('keys', {
      level: 'debug',
      destination: { write: (line: string) => void log.push(line) },
    });
    const config = await loadNodeConfig(layout.node('keys'));
    const keys = closer.add(await runKeysNode({ config, addresses }, { ...modules, logger }));
    await eventually(() => expect(first.context.boxes.newest('keys-1', 'mail')).resolves.toBeDefined());
    const user = closer.add(await openUser(installation, 'owner'));
    const api = createApi({
      transports: connectNodes({ directory: installation.directory, addresses, user }),
      clock: systemClock,
    });
    closer.add(api);
    await first.close();

    const { control: moved } = await chooseAddresses({}, anyPort);
    expect(moved.port).not.toBe(addresses.control.port);
    await publish(installation, systemClock, (document) => ({
      ...document,
      nodes: document.nodes.map((node) => (node.role === 'control' ? { ...node, addresses: [moved] } : node)),
    }));
    await spread(installation, { running: async () => ['keys'], restart: async () => undefined }, systemClock);
    const second = closer.add(await runControl(moved));

    // Control opens its mail when it arrives, and refuses what is for segments nodes.
    const misdirected = { type: 'stream.close', session: '11'.repeat(16) } as const;
    await expect(keys.parts.outbound.mail.send({ node: 'control-1' }, misdirected)).rejects.toThrow(
      'takes no stream.close from keys',
    );
    await second.context.mailbox.send({ node: 'keys-1' }, 'moved', {
      type: 'design.uploaded',
      design: '22'.repeat(16),
    });
    // It is opened and rejected: the message is for segments nodes.
    await eventually(() => expect(log.join('')).toContain('takes no design.uploaded from control'));
    expect(await api.licences()).toEqual([]);
  } finally {
    await closer.close();
  }
}, 120_000);
