import { join } from 'node:path';
import { createLogger, MillraceError } from '@millrace/base';
import { parseAddress } from '@millrace/peer';
import { openTlsFiles } from '@millrace/protocol';
import { createWitness, openWitnessFolder, serveWitness } from '@millrace/witness';
import { formatFields } from '../output/format.ts';
import { format } from '../supervisor/children.ts';
import { acquireLock } from '../supervisor/lock.ts';
import type { Context } from './context.ts';
import { readLogKey } from './objects.ts';
import { untilAborted } from './up.ts';

export interface WitnessCommandOptions {
  readonly name?: string;
  readonly logKey?: readonly string[];
  readonly listen: string;
  readonly certificate?: string;
  readonly certificateKey?: string;
}

/** Runs a witness until interrupted. */
export async function witness(context: Context, folder: string, options: WitnessCommandOptions): Promise<void> {
  const { terminal, clock, random, signal } = context;
  const { host = '127.0.0.1', port } = parseAddress(options.listen, '--listen');
  const path = context.path(folder);
  const logs = await Promise.all((options.logKey ?? []).map((given) => readLogKey(context, given)));
  const files = await openTls(context, options);
  const lock = await acquireLock(join(path, 'witness.lock'));
  try {
    const logger = createLogger('witness');
    const opened = createWitness({
      folder: await openWitnessFolder({ path, name: options.name, logs, random }),
      ...{ clock, logger },
    });
    if (opened.logs.length === 0) terminal.say('The witness knows no log yet: name one with --log-key.');
    const server = await serveWitness({ witness: opened, address: { host, port }, tls: files?.identity, logger });
    try {
      const url = `${files === undefined ? 'http' : 'https'}://${format(server.address)}`;
      const { key } = opened;
      terminal.result(
        { folder: path, key, url, logs: opened.logs },
        [
          'The witness is running.',
          formatFields(
            [
              ['key', key],
              ['submit', `${url}/add-checkpoint`],
              ...opened.logs.map((origin) => ['log', origin] as const),
            ],
            '  ',
          ),
        ].join('\n'),
      );
      await untilAborted(signal);
    } finally {
      await server.close();
    }
  } finally {
    files?.close();
    await lock.release();
  }
}

async function openTls(context: Context, { certificate, certificateKey }: WitnessCommandOptions) {
  if (certificate === undefined && certificateKey === undefined) return undefined;
  if (certificate === undefined || certificateKey === undefined)
    throw new MillraceError('E_INPUT', '--certificate and --certificate-key belong together');
  return openTlsFiles({ certificate: context.path(certificate), key: context.path(certificateKey) });
}
