import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCodes, isErrorCode } from '@millrace/base';
import { cli, temporaryFolder } from '@millrace/testkit/cli/helpers';
import { beforeAll, describe, expect, it } from 'vitest';

const to = ['--to', '127.0.0.1:1'];
const code = ['--code', '1234567890'];

let cwd = '';
beforeAll(async () => {
  cwd = await temporaryFolder();
  await writeFile(join(cwd, 'file'), 'data');
  await writeFile(join(cwd, 'short key'), 'short');
  await writeFile(join(cwd, 'own key'), new Uint8Array(32).fill(1));
  await writeFile(join(cwd, 'zero key'), new Uint8Array(32));
});

describe('invalid send and receive commands: one coded error, nothing created', () => {
  it.each<[string, string, readonly string[]]>([
    ['an address without a port', 'E_INPUT', ['send', 'file', '--to', 'host', ...code]],
    ['an address without a host', 'E_INPUT', ['send', 'file', '--to', ':7610', ...code]],
    ['no address', 'E_INPUT', ['send', 'file', ...code]],
    ['a file that is not there', 'E_NOT_FOUND', ['send', 'nothing here', ...to, ...code]],
    ['a folder', 'E_INPUT', ['send', '.', ...to, ...code]],
    ['a code that is none', 'E_INPUT', ['send', 'file', ...to, '--code', '12345']],
    ['a file without a code', 'E_INPUT', ['send', 'file', ...to, '--code-file', 'short key']],
    ['a file of a code that is not there', 'E_INPUT', ['send', 'file', ...to, '--code-file', 'nothing here']],
    ['two codes', 'E_INPUT', ['send', 'file', ...to, ...code, '--code-file', 'file']],
    ['a key without a fingerprint', 'E_INPUT', ['send', 'file', ...to, '--key', 'own key']],
    ['a fingerprint without a key', 'E_INPUT', ['send', 'file', ...to, '--peer', 'a'.repeat(32)]],
    ['an order that is none', 'E_INPUT', ['send', 'file', ...to, ...code, '--order', '20']],
    ['chaff that is too much', 'E_INPUT', ['send', 'file', ...to, ...code, '--chaff', '101']],
    ['an address that is not ours', 'E_CONFLICT', ['receive', '--listen', '192.0.2.1:0', '--output', 'new']],
    ['a file that exists', 'E_CONFLICT', ['receive', '--output', 'file']],
    ['a folder to write to', 'E_INPUT', ['receive', '--output', '.']],
    ['a folder that is not there', 'E_INPUT', ['receive', '--output', 'no/such/file']],
    ['a result and data in one place', 'E_INPUT', ['receive', '--output', '-', '--json']],
    ['a fingerprint that is none', 'E_INPUT', ['receive', '--output', 'new', '--key', 'own key', '--peer', 'abc']],
    [
      'a key that is too short',
      'E_INPUT',
      ['receive', '--output', 'new', '--key', 'short key', '--peer', 'a'.repeat(32)],
    ],
    ['a key that is none', 'E_INPUT', ['receive', '--output', 'new', '--key', 'zero key', '--peer', 'a'.repeat(32)]],
    ['a key that is not there', 'E_CONFIG', ['send', 'file', ...to, '--key', 'no key', '--peer', 'a'.repeat(32)]],
    ['a key in no folder', 'E_INPUT', ['peer-key', 'no/such/key']],
  ])('%s: %s', async (_, wanted, argv) => {
    const before = await readdir(cwd);
    const { exit, stderr } = await cli(argv, { cwd });
    expect([...stderr.matchAll(/error {3}(E_\w+)/g)].map(([, found]) => found)).toEqual([wanted]);
    expect(isErrorCode(wanted) && errorCodes[wanted].exit).toBe(exit);
    expect(await readdir(cwd)).toEqual(before);
  });

  it('data is not written to a terminal unless requested', async () => {
    const stdout = { isTTY: true, write: () => undefined };
    const { exit, stderr } = await cli(['receive'], { cwd, stdout });
    expect([exit, stderr]).toEqual([2, expect.stringContaining('--output')]);
  });
});
