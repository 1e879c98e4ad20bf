import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { machineFiles, nodeFiles, userFiles } from '@millrace/cli/parts';
import { folderOf, type TestInstallation } from './test-installation.ts';

export interface Secret {
  readonly name: string;
  readonly file: string;
  readonly bytes: Uint8Array;
}

/** Every long-lived 32-byte key in the installation's files. */
export async function secretsOf({ installation }: TestInstallation): Promise<Secret[]> {
  const files = [
    ['admin', userFiles.key],
    ['owner', userFiles.key],
    ['operator', userFiles.key],
    ['machine', machineFiles.identity],
    ['control', nodeFiles.identity],
    ['control', nodeFiles.permitKey],
    ['control', nodeFiles.logKey],
    ['distribution', nodeFiles.identity],
    ['segments', nodeFiles.identity],
    ['keys', nodeFiles.identity],
    ['keys', nodeFiles.kek],
  ] as const;
  return Promise.all(
    files.map(async ([who, name]) => {
      const file = join(folderOf(installation, who), name);
      return { name: `${who}/${name}`, file, bytes: new Uint8Array(await readFile(file)) };
    }),
  );
}
