#!/usr/bin/env node
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type Closable,
  Closer,
  createLogger,
  type Logger,
  MillraceError,
  systemClock,
  systemRandom,
  toMillraceError,
} from '@millrace/base';
import { guardSecrets } from '@millrace/live-matrix';
import type { NewToken } from '@millrace/machine/admin';
import { type Address, parseHostPort } from '@millrace/protocol';
import { operateMachine, operationIn } from './operate.ts';
import { PAGE, servePage } from './page/server.ts';
import { forgetCloud } from './pairing/machine-folder.ts';
import { notifyServiceManager } from './service-manager.ts';
import { addMachine, type Site, type SiteOptions, slotFolder, slotsOf, startSite } from './site.ts';
import { wireGuard } from './wireguard/command.ts';

const usage = `usage: millrace-agent --folder FOLDER [--cloud HOST:PORT] [--page HOST:PORT|off]
                      [--pkcs11 MODULE --token LABEL [--pin-file FILE]]
       millrace-agent --folder FOLDER --add-machine
       millrace-agent --folder FOLDER --pair-again NUMBER
       millrace-agent status|pause|resume|cancel|stop [MACHINE] --folder FOLDER [--cause TEXT]
       millrace-agent wireguard key|site|cloud|check ...

  --folder       holds keys and state of this site's machines; made at the first start ($MILLRACE_AGENT_FOLDER)
  --cloud        address of the cloud's control node, needed until the machines are paired ($MILLRACE_CLOUD)
  --page         where the local page is (127.0.0.1:7680), or off ($MILLRACE_PAGE)
  --pkcs11       makes the keys of new machines in a token of this PKCS #11 module ($MILLRACE_PKCS11)
  --token        label of the token ($MILLRACE_TOKEN)
  --pin-file     file with the token’s PIN; by default the PIN agent at $MILLRACE_PIN_SOCKET ($MILLRACE_PIN_FILE)
  --add-machine  adds a machine; the running agent shows a pairing code for it
  --pair-again   forgets the cloud of a machine and keeps its keys; then restart the agent
  wireguard      makes and checks a tunnel to the cloud (docs/premises.md)`;

interface Options {
  readonly folder: string;
  readonly cloud: Address | undefined;
  /** Undefined: no page. */
  readonly page: Address | undefined;
  readonly token: NewToken | undefined;
  readonly add: boolean;
  readonly again: string | undefined;
}

function options(): Options {
  let values: Partial<Record<'folder' | 'cloud' | 'page' | 'pkcs11' | 'token' | 'pin-file' | 'pair-again', string>> & {
    'add-machine'?: boolean;
  };
  try {
    ({ values } = parseArgs({
      options: {
        folder: { type: 'string' },
        cloud: { type: 'string' },
        page: { type: 'string' },
        pkcs11: { type: 'string' },
        token: { type: 'string' },
        'pin-file': { type: 'string' },
        'add-machine': { type: 'boolean' },
        'pair-again': { type: 'string' },
      },
    }));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', usage, { cause });
  }
  const { MILLRACE_AGENT_FOLDER, MILLRACE_CLOUD, MILLRACE_PAGE } = process.env;
  const { folder = MILLRACE_AGENT_FOLDER, cloud = MILLRACE_CLOUD, 'add-machine': add = false } = values;
  if (folder === undefined || folder === '') throw new MillraceError('E_CONFIG', usage);
  const where = values.page ?? MILLRACE_PAGE;
  const page = where === 'off' ? undefined : (addressIn(where) ?? PAGE);
  return { folder, cloud: addressIn(cloud), page, token: tokenIn(values), add, again: values['pair-again'] };
}

/** @throws {MillraceError} E_CONFIG unless module and token are named together */
function tokenIn(
  values: Partial<Record<'pkcs11' | 'token' | 'pin-file', string>>,
  { MILLRACE_PKCS11, MILLRACE_TOKEN, MILLRACE_PIN_FILE } = process.env,
): NewToken | undefined {
  const { pkcs11 = MILLRACE_PKCS11, token = MILLRACE_TOKEN, 'pin-file': pinFile = MILLRACE_PIN_FILE } = values;
  if (!pkcs11 && !token && !pinFile) return undefined;
  if (!pkcs11 || !token)
    throw new MillraceError('E_CONFIG', `keys in a token need both --pkcs11 MODULE and --token LABEL\n${usage}`);
  return { module: resolve(pkcs11), label: token, ...(pinFile && { pinFile: resolve(pinFile) }) };
}

function addressIn(text: string | undefined): Address | undefined {
  if (text === undefined || text === '') return undefined;
  const address = parseHostPort(text);
  if (address === undefined) throw new MillraceError('E_CONFIG', `not an address (HOST:PORT): ${text}\n${usage}`);
  return address;
}

async function main(): Promise<void> {
  const [command, ...args] = process.argv.slice(2);
  if (command === 'wireguard') return await tell(wireGuard(args));
  const operation = operationIn(process.argv.slice(2), process.env);
  if (operation !== undefined) return await tell(operateMachine(operation).then((text) => `${text}\n`));
  const { folder, cloud, page, token, add, again } = options();
  if (add) {
    process.stdout.write(`Machine ${await addMachine(folder)} is added: the running agent shows its pairing code.\n`);
    return;
  }
  if (again !== undefined) {
    if (!(await slotsOf(folder)).includes(again))
      throw new MillraceError('E_NOT_FOUND', `there is no machine ${again} in ${folder}`);
    await forgetCloud(slotFolder(folder, again));
    process.stdout.write(`Machine ${again} is not paired any more: restart the agent and enter its new code.\n`);
    return;
  }
  const logger = createLogger('agent');
  guardSecrets(logger);
  const starting = start({ folder, cloud, token }, page, logger);
  let closing = false;
  const close = (exit: number) => {
    if (closing) return;
    closing = true;
    starting
      .then((running) => running.close())
      .then(
        () => process.exit(exit),
        (error: unknown) => {
          logger.error({ err: toMillraceError(error) }, 'could not close');
          process.exit(1);
        },
      );
  };
  // Install the handlers first: a stop signal may arrive during the start.
  process.on('SIGTERM', () => close(0));
  process.on('SIGINT', () => close(0));
  const { stuck } = await starting;
  stuck.addEventListener('abort', () => {
    const error = toMillraceError(stuck.reason);
    logger.fatal(
      { err: error },
      'no machine has its token: the agent ends, so that the service manager starts it again',
    );
    close(error.exit);
  });
  process.stdout.write(`${JSON.stringify({ ready: true, role: 'agent' })}\n`);
}

async function start(
  options: SiteOptions,
  page: Address | undefined,
  logger: Logger,
): Promise<Closable & Pick<Site, 'stuck'>> {
  const closer = new Closer();
  try {
    const site = closer.add(await startSite(options, { logger, clock: systemClock, random: systemRandom }));
    if (page !== undefined) {
      const { address } = closer.add(await servePage(page, () => site.machines, { clock: systemClock, logger }));
      logger.info(
        { page: `http://${address.host}:${address.port}/` },
        'the local page shows the machines of this site',
      );
    }
    closer.add(notifyServiceManager(process.env, () => `machines: ${site.machines.length}`, logger));
    return { stuck: site.stuck, close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** For whoever has typed the command. */
async function tell(answer: Promise<string>): Promise<void> {
  try {
    process.stdout.write(await answer);
  } catch (error) {
    const { code, message, exit } = toMillraceError(error);
    process.stderr.write(`${code}: ${message}\n`);
    process.exitCode = exit;
  }
}

main().catch((error: unknown) => {
  const coded = toMillraceError(error);
  createLogger('agent').fatal({ err: coded }, 'cannot start');
  process.exit(coded.exit);
});
