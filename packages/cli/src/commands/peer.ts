import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { MillraceError, wipe } from '@millrace/base';
import { hasSystemCode, readBytes, writeSecret } from '@millrace/client/node';
import { generateP256Key, keyName, type P256Key, p256Key } from '@millrace/identity';
import type { MatrixParameters } from '@millrace/live-matrix';
import {
  type Caller,
  codeCaller,
  codeResponder,
  connectToPeer,
  keyCaller,
  keyResponder,
  listenForPeer,
  newCode,
  openFileSink,
  parseAddress,
  receiveFromPeer,
  sendToPeer,
  type Transferred,
} from '@millrace/peer';
import { ask } from '../output/ask.ts';
import { commandName } from '../output/command-name.ts';
import { formatBytes, formatDuration } from '../output/format.ts';
import { openSource, standardOutput } from '../output/pipes.ts';
import { createProgress, type Progress } from '../output/progress.ts';
import { type Context, wholeNumber } from './context.ts';

/** Interval of progress updates, ms. */
const SHOWN_EVERY = 100;
const KEY_BYTES = 32;

interface KeyChoice {
  readonly key?: string;
  readonly peer?: string;
}

export interface ReceiveOptions extends KeyChoice {
  readonly listen: string;
  readonly output?: string;
  readonly force?: boolean;
}

export interface SendOptions extends KeyChoice {
  readonly to: string;
  readonly code?: string;
  readonly codeFile?: string;
  readonly order: string;
  readonly chaff?: string;
}

export async function receive(context: Context, options: ReceiveOptions): Promise<void> {
  const { terminal, signal, random, clock } = context;
  const at = parseAddress(options.listen, '--listen');
  const output = outputOf(context, options.output);
  const key = await keyOf(context, options);
  const sink =
    output === '-' ? standardOutput(signal) : await openFileSink(context.path(output), options.force === true, random);
  try {
    const code = newCode(random);
    const responder = key === undefined ? await codeResponder(code) : keyResponder(key);
    const listening = await listenForPeer({
      ...{ at, responder, signal },
      onRefused: (address, error) => terminal.say(`refused a connection from ${address}: ${error.message}`),
    });
    const to = at.host === undefined || /^(0\.0\.0\.0|::)$/.test(at.host) ? ownAddress() : at.host;
    const how = key === undefined ? '' : ` --key FILE --peer ${keyName(key.key.publicKey)}`;
    terminal.say('Waiting. On the other computer:');
    terminal.say(`  ${commandName} send FILE --to ${to.includes(':') ? `[${to}]` : to}:${listening.port}${how}`);
    if (key === undefined) terminal.say(`  code  ${code}`);
    const peer = await listening.peer;
    const began = clock.monotonic();
    const progress = countProgress(context, 'receiving', undefined);
    const received = await receiveFromPeer({ peer, sink, signal, onProgress: progress.count });
    progress.end();
    const text = `Received ${summary(received, clock.monotonic() - began)} from ${peer.address}`;
    if (output === '-') terminal.say(text);
    else
      terminal.result(
        { ...received, from: peer.address, file: context.path(output) },
        `${text}\n${context.path(output)}`,
      );
  } catch (error) {
    await sink.discard(); // even if no peer connected
    throw error;
  } finally {
    key?.key.close();
  }
}

export async function send(context: Context, file: string, options: SendOptions): Promise<void> {
  const { terminal, signal, clock } = context;
  const to = parseAddress(options.to, '--to');
  if (to.host === undefined || to.port === 0) throw new MillraceError('E_INPUT', '--to needs a host and a port');
  const parameters = parametersOf(options);
  const source = await openSource(file === '-' ? file : context.path(file));
  let key: Awaited<ReturnType<typeof keyOf>>;
  try {
    key = await keyOf(context, options);
    const caller = key === undefined ? await callerByCode(context, options) : keyCaller(key);
    const peer = await connectToPeer({ to, caller, signal });
    const began = clock.monotonic();
    const progress = countProgress(context, 'sending', source.size);
    const sent = await sendToPeer({ peer, source: source.data, parameters, signal, onProgress: progress.count });
    progress.end();
    const text = `Sent ${summary(sent, clock.monotonic() - began)} to ${peer.address}; it was confirmed`;
    terminal.result({ ...sent, to: peer.address }, text);
  } finally {
    source.close();
    key?.key.close();
  }
}

/** Creates the key if missing, and prints its fingerprint. */
export async function peerKey(context: Context, file: string): Promise<void> {
  const path = context.path(file);
  const key = generateP256Key();
  const secret = key.exportSecret();
  let made = true;
  try {
    await writeSecret(path, secret);
  } catch (cause) {
    if (!hasSystemCode(cause, 'EEXIST')) throw new MillraceError('E_INPUT', `cannot write ${path}`, { cause });
    made = false;
  } finally {
    wipe(secret);
    key.close();
  }
  const found = await readKey(path);
  const fingerprint = keyName(found.publicKey);
  found.close();
  context.terminal.result({ file: path, fingerprint, made }, fingerprint);
}

function outputOf({ stdout, terminal }: Context, output: string | undefined): string {
  if (output !== undefined && output !== '-') return output;
  if (terminal.json) {
    throw new MillraceError(
      'E_INPUT',
      'with --json the result is written to standard output: choose a file with --output',
    );
  }
  if (output === undefined && stdout.isTTY === true) {
    throw new MillraceError(
      'E_INPUT',
      'choose where the data is written: --output FILE, or --output - for standard output',
    );
  }
  return '-';
}

async function keyOf(context: Context, options: KeyChoice): Promise<{ key: P256Key; peer: string } | undefined> {
  const { key, peer } = options;
  if (key === undefined && peer === undefined) return undefined;
  if (key === undefined || peer === undefined) {
    throw new MillraceError('E_INPUT', '--key FILE and --peer FINGERPRINT must be used together');
  }
  return { key: await readKey(context.path(key)), peer };
}

async function readKey(path: string): Promise<P256Key> {
  const secret = await readBytes(path);
  try {
    if (secret.length !== KEY_BYTES)
      throw new MillraceError('E_INPUT', `${path} is not a key made by \`millrace peer-key\``);
    return p256Key(secret);
  } finally {
    wipe(secret);
  }
}

async function callerByCode(context: Context, { code, codeFile }: SendOptions): Promise<Caller> {
  if (code !== undefined && codeFile !== undefined) {
    throw new MillraceError('E_INPUT', '--code and --code-file exclude each other');
  }
  if (code !== undefined) return codeCaller(code);
  if (codeFile !== undefined) {
    try {
      return codeCaller(await readFile(context.path(codeFile), 'utf8'));
    } catch (cause) {
      if (cause instanceof MillraceError) throw cause;
      throw new MillraceError('E_INPUT', `cannot read ${context.path(codeFile)}`, { cause });
    }
  }
  const instead = 'give the code with --code-file FILE';
  return codeCaller(await ask(context.terminal, 'The code that the receiver shows:', instead, context.signal));
}

function parametersOf({ order, chaff }: SendOptions): MatrixParameters {
  if (order !== '16' && order !== '24') throw new MillraceError('E_INPUT', '--order: expected 16 or 24');
  const common = { suite: 'turboshake128', order: order === '16' ? 16 : 24 } as const;
  if (chaff === undefined) return { ...common, hints: 'dense' };
  return { ...common, hints: 'sparse', chaffPercent: wholeNumber(chaff, '--chaff', 0, 100) };
}

/** Counts every chunk and updates the display at intervals. */
function countProgress(
  { terminal, clock }: Context,
  label: string,
  size: number | undefined,
): { count(bytes: number): void; end(): void } {
  const bar: Progress | undefined = size === undefined ? undefined : createProgress(terminal, label);
  let shown = Number.NEGATIVE_INFINITY;
  return {
    count: (bytes) => {
      const now = clock.monotonic();
      if (now - shown < SHOWN_EVERY) return;
      shown = now;
      if (size !== undefined) bar?.update(bytes, size, formatBytes(bytes));
      else if (terminal.interactive) terminal.overwrite(`${label} ${formatBytes(bytes)}`);
    },
    end: () => {
      bar?.finish();
      terminal.overwrite('');
    },
  };
}

function summary({ bytes, sha256 }: Transferred, milliseconds: number): string {
  return `${formatBytes(bytes)} in ${formatDuration(milliseconds)} (sha256 ${sha256})`;
}

/** An address at which others may reach this computer. */
function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outward = all.filter(({ internal }) => !internal);
  return (outward.find(({ family }) => family === 'IPv4') ?? outward[0])?.address ?? '127.0.0.1';
}
