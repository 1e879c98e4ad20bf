import { parseArgs } from 'node:util';
import { createLogger, MillraceError, toMillraceError } from '@millrace/base';
import { guardSecrets } from '@millrace/live-matrix';
import { type Address, parseHostPort } from '@millrace/protocol';
import { type Agent, createAgent } from './agent/agent.ts';
import { loadMachineConfig, type MachineConfig } from './agent/config.ts';

const usage = 'usage: main.js --folder MACHINE_FOLDER --distribution HOST:PORT';

function address(text: string | undefined): Address {
  const parsed = parseHostPort(text ?? '');
  if (parsed === undefined) throw new MillraceError('E_CONFIG', usage);
  return parsed;
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
  const first = await loadMachineConfig(folder);
  const logger = createLogger('machine');
  guardSecrets(logger);
  let closing = false;
  const close = (exit = 0) => {
    if (closing) return;
    closing = true;
    running
      .then((agent) => agent.close())
      .then(
        () => process.exit(exit),
        (error: unknown) => {
          logger.error({ err: toMillraceError(error) }, 'could not close');
          process.exit(1);
        },
      );
  };
  const fail = (cause: unknown, what: string) => {
    const error = toMillraceError(cause);
    logger.fatal({ err: error }, what);
    return error.exit;
  };
  const begin = async (config: MachineConfig): Promise<Agent> => {
    const lost = config.machineKey.token?.lost;
    // A session does not survive a removal. The supervisor starts the agent again.
    lost?.addEventListener('abort', () => close(fail(lost.reason, 'the machine’s key is gone: the agent stops')));
    const agent = await createAgent({ config, distribution: () => distribution }, { logger });
    agent.changed.addEventListener('abort', () => {
      if (!closing) running = again(agent, config);
      running.catch((error: unknown) => process.exit(fail(error, 'cannot start with the new settings')));
    });
    return agent;
  };
  const again = async (agent: Agent, { machineKey }: MachineConfig): Promise<Agent> => {
    await agent.close();
    machineKey.close();
    logger.info('the agent starts again with new settings');
    return begin(await loadMachineConfig(folder));
  };
  let running = begin(first);
  // Install the handlers first: a stop signal may arrive during the start.
  process.on('SIGTERM', () => close());
  process.on('SIGINT', () => close());
  process.on('disconnect', () => close()); // the supervisor has exited
  await running;
  process.stdout.write(`${JSON.stringify({ ready: true, role: 'machine' })}\n`);
}

main().catch((error: unknown) => {
  const coded = toMillraceError(error);
  createLogger('machine').fatal({ err: coded }, 'cannot start');
  process.exit(coded.exit);
});
