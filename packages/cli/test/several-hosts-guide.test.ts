import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { createProgram } from '../src/program.ts';

// docs/several-hosts.md names commands and options that exist; tests/heavy/several-hosts.test.ts runs them.

const docs = (path: string) => fileURLToPath(new URL(`../../../docs/${path}`, import.meta.url));
const run = promisify(execFile);
const program = createProgram({ stdout: process.stdout, stderr: process.stderr } as never, () => undefined);

/** Requires that a command line names a command, its required options, and no others. */
function check(words: readonly string[]): void {
  let command: Command = program;
  let at = 0;
  for (; at < words.length; at++) {
    const next = command.commands.find((known) => known.name() === words[at]);
    if (next === undefined) break;
    command = next;
  }
  const given = words.slice(at).filter((word) => word.startsWith('--'));
  const known = command.options.map(({ long }) => long);
  expect(command.commands, words.join(' ')).toHaveLength(0);
  for (const option of given) expect(known, words.join(' ')).toContain(option);
  for (const { long, mandatory } of command.options)
    if (mandatory) expect(given, `${words.join(' ')}: ${long}`).toContain(long);
}

it('the guide and the files for systemd and containers use commands and options that exist', () => {
  const guide = readFileSync(docs('several-hosts.md'), 'utf8').replace(/\\\n\s*/g, '');
  const lines = [...guide.matchAll(/^millrace (.+)$/gm)].map(([, line = '']) => line);
  expect(lines.length).toBeGreaterThan(12);
  const unit = readFileSync(docs('deploy/millrace-node.service'), 'utf8');
  const compose = readFileSync(docs('deploy/compose.yaml'), 'utf8');
  lines.push(...[...unit.matchAll(/^ExecStart=\S*millrace (.+)$/gm)].map(([, line = '']) => line));
  const services = [...compose.matchAll(/^ {4}command: node \S*main\.js (.+)$/gm)].map(([, line = '']) => line);
  expect(services).toHaveLength(4);
  for (const line of [...lines, ...services]) check(line.split(/\s+/));
});

const analyze = '/usr/bin/systemd-analyze';
if (!existsSync(analyze)) console.warn('skipped: no systemd-analyze here');
it.runIf(existsSync(analyze))('the unit is accepted by systemd, with little exposure', async () => {
  const unit = docs('deploy/millrace-node.service');
  const { stderr } = await run(analyze, ['verify', unit]).catch((error: { stderr: string }) => error);
  // The program is installed elsewhere than in this test.
  const problems = stderr.split('\n').filter((line) => line !== '' && !line.includes('is not executable'));
  expect(problems).toEqual([]);
  const { stdout } = await run(analyze, ['security', '--offline=yes', '--threshold=25', unit]);
  expect(stdout).toContain('Overall exposure level');
});
