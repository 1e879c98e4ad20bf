import { mkdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, fileExists, hexOf, type Logger } from '@millrace/base';
import { machineFiles } from '@millrace/machine/agent';
import { directoryFiles } from '@millrace/protocol';
import { z } from 'zod';

/** What is signed for one cloud, or was accepted from it: of no use to another. */
const ofOneCloud = [machineFiles.data, directoryFiles.seen, directoryFiles.revocations];

const namingCloud = z.looseObject({ directory: z.looseObject({ installation: hexOf(16) }) });

/**
 * Call before a machine's folder gets the settings of its cloud. If the machine belonged to another cloud before, the
 * state that it kept for that one is set aside in the folder; nothing is deleted.
 * @param installation of the cloud to which the machine belongs from now on
 */
export async function leaveFormerCloud(
  folder: string,
  installation: string,
  { clock, logger }: { readonly clock: Pick<Clock, 'now'>; readonly logger: Logger },
): Promise<void> {
  const former = await cloudOf(folder);
  if (former === undefined || former === installation) return;
  const time = new Date(clock.now())
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(':', '-');
  const aside = join(folder, `former-${time}-${former.slice(0, 8)}`);
  await mkdir(aside, { recursive: true, mode: 0o700 });
  for (const name of ofOneCloud)
    if (await fileExists(join(folder, name))) await rename(join(folder, name), join(aside, name));
  logger.warn(
    { former, installation, folder: aside },
    'the machine belonged to another cloud: what it kept for that one, reports and objects too, is set aside',
  );
}

/** The installation whose directory is in the folder. */
async function cloudOf(folder: string): Promise<string | undefined> {
  const path = join(folder, directoryFiles.directory);
  if (!(await fileExists(path))) return undefined;
  try {
    return namingCloud.parse(JSON.parse(await readFile(path, 'utf8'))).directory.installation;
  } catch {
    return 'unknown'; // damaged: whatever it was, its state is not that of the new cloud
  }
}
