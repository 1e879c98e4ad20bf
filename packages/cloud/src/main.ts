import { parseArgs } from 'node:util';
import {
  type Closable,
  createLogger,
  MemoryMetrics,
  MillraceError,
  systemClock,
  type Tracer,
  toMillraceError,
} from '@millrace/base';
import { type Address, type Addresses, parseAddresses } from '@millrace/protocol';
import { addressesInDirectory, loadNodeConfig, type NodeConfig } from './config.ts';
import { openTracer } from './node/tracing.ts';

const usage =
  'usage: main.js --folder NODE_FOLDER [--control HOST:PORT --distribution HOST:PORT [--ledger HOST:PORT] [--console HOST:PORT] [--browsers HOST:PORT]]';

function address(text: string | undefined): Address {
  const match = /^(.+):(\d+)$/.exec(text ?? '');
  if (match === null) throw new MillraceError('E_CONFIG', usage);
  return { host: match[1] ?? '', port: Number(match[2]) };
}

/** The addresses that a supervisor gives; without them, those of the directory. */
function givenAddresses(values: Readonly<Record<string, string | undefined>>, config: NodeConfig): Addresses {
  if (values.control === undefined && values.distribution === undefined) return addressesInDirectory(config);
  return {
    control: address(values.control),
    distribution: address(values.distribution),
    ...(values.ledger === undefined ? {} : { ledger: address(values.ledger) }),
    ...(values.console === undefined ? {} : { console: address(values.console) }),
    ...(values.browsers === undefined ? {} : { browsers: address(values.browsers) }),
  };
}

/** Loads only the code of the node's own role. */
async function start(config: NodeConfig, given: Addresses, tracer: Tracer | undefined): Promise<Closable> {
  const modules = {
    logger: createLogger(config.role),
    clock: systemClock,
    metrics: new MemoryMetrics(),
    ...(tracer && { tracer }),
  };
  const addresses = parseAddresses(given);
  switch (config.role) {
    case 'control': {
      const { runControl } = await import('./control/run.ts');
      return runControl(
        {
          config,
          address: addresses.control,
          ledgerAddress: addresses.ledger,
          consoleAddress: addresses.console,
          uploadsAddress: addresses.browsers,
        },
        modules,
      );
    }
    case 'distribution': {
      const { runDistributionNode } = await import('./distribution/run.ts');
      return runDistributionNode({ config, addresses }, modules);
    }
    case 'segments': {
      const { runSegmentsNode } = await import('./segments/run.ts');
      return runSegmentsNode({ config, addresses }, modules);
    }
    case 'keys': {
      const { runKeys } = await import('./keys/run.ts');
      const { guardSecrets } = await import('@millrace/live-matrix');
      guardSecrets(modules.logger);
      return runKeys({ config, addresses }, modules);
    }
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      folder: { type: 'string' },
      control: { type: 'string' },
      distribution: { type: 'string' },
      ledger: { type: 'string' },
      console: { type: 'string' },
      browsers: { type: 'string' },
    },
  });
  if (values.folder === undefined) throw new MillraceError('E_CONFIG', usage);
  const config = await loadNodeConfig(values.folder);
  const tracer = await openTracer(config, process.env, createLogger(config.role));
  const node = await start(config, givenAddresses(values, config), tracer);
  let closing = false;
  const close = async () => {
    if (closing) return;
    closing = true;
    await node.close();
    await tracer?.close();
    process.exit(0);
  };
  process.on('SIGTERM', close);
  process.on('SIGINT', close);
  process.on('disconnect', close); // the supervisor has exited
  process.stdout.write(`${JSON.stringify({ ready: true, role: config.role })}\n`);
}

main().catch((error: unknown) => {
  const coded = toMillraceError(error);
  createLogger('node').fatal({ err: coded }, 'cannot start');
  process.exit(coded.exit);
});
