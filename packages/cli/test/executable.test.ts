import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder, testInstallation, until } from '@millrace/testkit/cli/helpers';
import { describe, expect, it } from 'vitest';

const built = fileURLToPath(new URL('../dist/program/main.js', import.meta.url));

describe('the executable', () => {
  it('ends with the exit code, without a stack trace, and forwards signals', async () => {
    const folder = await temporaryFolder();
    const start = (...argv: string[]) => spawn(process.execPath, [built, ...argv], { cwd: folder });
    const wrong = start('status', '--json');
    let out = '';
    wrong.stdout.on('data', (chunk) => (out += chunk));
    const [code] = (await once(wrong, 'close')) as [number];
    expect(code).toBe(2);
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'E_CONFIG' } });

    const { layout } = await testInstallation();
    await mkdir(layout.run.logs, { recursive: true });
    await writeFile(join(layout.run.logs, 'keys.jsonl'), '{"msg":"first"}\n');
    const follow = start('logs', '--follow', '--home', layout.home);
    let seen = '';
    follow.stdout.on('data', (chunk) => (seen += chunk));
    await until(() => seen.includes('first'));
    follow.kill('SIGTERM');
    expect(await once(follow, 'close')).toEqual([0, null]);
  });
});
