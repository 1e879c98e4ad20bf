import { parseArgs } from 'node:util';
import { createLogger, MillraceError, toMillraceError } from '@millrace/base';
import { guardSecrets } from '@millrace/live-matrix';
import type { Address } from '@millrace/protocol';
import { createAgent } from './agent/agent.ts';
import { loadMachineConfig } from './agent/config.ts';

const usage = 'usage: main.js --folder MACHINE_FOLDER --distribution HOST:PORT';

function address(text: string | undefined): Address {
  const match = /^(.+):(\d{1,5})$/.exec(text ?? '');
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535) throw new MillraceError('E_CONFIG', usage);
  return { host: match[1], port };
}

function options(): { folder: string; distribution: Address } {
  let values: { folder?: string; distribution?: string };
  try {
    ({ values } = parseArgs({ options: { folder: { type: 'string' }, distribution: { type: 'string' } } }));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', usage, { cause });
  }
  if (values.folder === undefined) throw new MillraceError('E_CONFIG', usage);
  return { folder: values.folder, distribution: address(values.distribution) };
}

async function main(): Promise<void> {
  const { folder, distribution } = options();
  const config = await loadMachineConfig(folder);
  const logger = createLogger('machine');
  guardSecrets(logger);
  const starting = createAgent({ config, distribution: () => distribution }, { logger });
  let closing = false;
  const close = () => {
    if (closing) return;
    closing = true;
    starting
      .then((agent) => agent.close())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error({ err: toMillraceError(error) }, 'could not close');
          process.exit(1);
        },
      );
  };
  // Install the handlers first: a stop signal may arrive during the start.
  process.on('SIGTERM', close);
  process.on('SIGINT', close);
  process.on('disconnect', close); // the supervisor has exited
  await starting;
  process.stdout.write(`${JSON.stringify({ ready: true, role: 'machine' })}\n`);
}

main().catch((error: unknown) => {
  const coded = toMillraceError(error);
  createLogger('machine').fatal({ err: coded }, 'cannot start');
  process.exit(coded.exit);
});
