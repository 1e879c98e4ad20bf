import { execFile } from 'node:child_process';
import { MillraceError } from '@millrace/base';
import type { Checked } from './check.ts';

/** Runs `wg show INTERFACE WHAT`. @throws {MillraceError} E_UNAVAILABLE */
export type ShowTunnel = (name: string, what: 'public-key' | 'allowed-ips' | 'latest-handshakes') => Promise<string>;

const SHOW_MS = 10_000;

/** Never asks for `dump` or `private-key`: no secret passes through this process. */
export const showTunnel: ShowTunnel = (name, what) =>
  new Promise((resolve, reject) => {
    execFile('wg', ['show', name, what], { timeout: SHOW_MS }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const why =
        'code' in error && error.code === 'ENOENT' ? 'the command wg is missing' : stderr.trim().slice(0, 200);
      reject(new MillraceError('E_UNAVAILABLE', `the interface ${name} cannot be read: ${why}`, { cause: error }));
    });
  });

/** Compares a running interface with its checked configuration. @throws {MillraceError} E_UNAVAILABLE */
export async function checkRunning(
  name: string,
  { publicKey, peers }: Checked,
  now: number,
  show: ShowTunnel = showTunnel,
): Promise<{ readonly findings: string[]; readonly said: string[] }> {
  const findings: string[] = [];
  if ((await show(name, 'public-key')).trim() !== publicKey)
    findings.push(`${name} runs with another key than the configuration`);
  const running = new Map(rows(await show(name, 'allowed-ips')).map(([key = '', ...allowed]) => [key, allowed]));
  for (const peer of peers) {
    const allowed = running.get(peer.publicKey);
    if (allowed === undefined) findings.push(`${name} has no peer ${peer.publicKey}`);
    else if (withLength(allowed) !== withLength(peer.allowed))
      findings.push(`${name} sends other addresses to ${peer.publicKey}: ${allowed.join(', ')}`);
  }
  for (const key of running.keys())
    if (!peers.some(({ publicKey: own }) => own === key)) findings.push(`${name} has another peer: ${key}`);
  const said = rows(await show(name, 'latest-handshakes')).map(([key = '', at = '0']) =>
    at === '0' ? `${key}: no handshake yet` : `${key}: handshake ${Math.round(now / 1000 - Number(at))} s ago`,
  );
  return { findings, said };
}

const rows = (text: string): string[][] =>
  text.split('\n').flatMap((line) => (line === '' ? [] : [line.split(/\s+/).filter((part) => part !== '')]));

/** `wg` writes each address with the length of its block. */
const withLength = (blocks: readonly string[]): string =>
  blocks
    .map((block) => (block.includes('/') ? block : `${block}/${block.includes(':') ? 128 : 32}`))
    .sort()
    .join(' ');
