import { execFileSync } from 'node:child_process';

/** One half of a network: a network namespace with addresses of its own. */
export interface Half {
  readonly addresses: readonly string[];
  /** Command prefix that runs a command in this half. */
  readonly within: readonly string[];
  /** Name of the network namespace. */
  readonly namespace: string;
}

/** Two network namespaces that reach each other and this process, until the link between them is cut. */
export interface Halves {
  readonly a: Half;
  readonly b: Half;
  /** Loses every packet between the halves. Nobody is told: connections stay open, and nothing arrives. */
  cut(): void;
  heal(): void;
  close(): void;
}

const NETWORK = '10.213.78';
const OUTSIDE = `${NETWORK}.9`;
const addresses = { a: [`${NETWORK}.1`], b: [`${NETWORK}.2`, `${NETWORK}.3`] } as const;
/** No interface has it: what is sent to it is lost. */
const NOWHERE = '02:00:00:00:00:01';

/** A pair of linked interfaces, each with the addresses that are reached through it. */
interface Link {
  readonly from: Side;
  readonly to: Side;
}
interface Side {
  /** Undefined: this process's own namespace. */
  readonly namespace: string | undefined;
  readonly device: string;
  readonly own: readonly string[];
}

/**
 * Needs root and `ip`.
 * @returns the halves, or the reason why there are none
 */
export function openHalves(): Halves | string {
  const id = process.pid % 100_000;
  const names = { a: `millrace${id}a`, b: `millrace${id}b` };
  const close = () => {
    process.removeListener('exit', close);
    // Removing a namespace removes its links, with both ends.
    for (const name of Object.values(names)) attempt('ip', 'netns', 'del', name);
  };
  const outside = (device: string): Side => ({ namespace: undefined, device, own: [OUTSIDE] });
  const side = (half: 'a' | 'b', device: string): Side => ({ namespace: names[half], device, own: addresses[half] });
  const between: Link = { from: side('a', `mr${id}x`), to: side('b', `mr${id}y`) };
  const links: readonly Link[] = [
    { from: outside(`mr${id}p`), to: side('a', `mr${id}q`) },
    { from: outside(`mr${id}r`), to: side('b', `mr${id}s`) },
    between,
  ];
  process.once('exit', close);
  try {
    for (const half of ['a', 'b'] as const) {
      run('ip', 'netns', 'add', names[half]);
      ip(names[half], 'link', 'set', 'lo', 'up');
      for (const address of addresses[half]) ip(names[half], 'addr', 'add', `${address}/32`, 'dev', 'lo');
    }
    for (const { from, to } of links) {
      run('ip', 'link', 'add', from.device, 'type', 'veth', 'peer', 'name', to.device);
      for (const { namespace, device } of [from, to])
        if (namespace !== undefined) run('ip', 'link', 'set', device, 'netns', namespace);
    }
    for (const { namespace, device } of links.flatMap(({ from, to }) => [from, to])) {
      if (namespace === undefined) ip(undefined, 'addr', 'add', `${OUTSIDE}/32`, 'dev', device);
      ip(namespace, 'link', 'set', device, 'up');
    }
    for (const { from, to } of links) {
      route(from, to);
      route(to, from);
    }
  } catch (cause) {
    close();
    return String(cause).split('\n').slice(0, 2).join(': ');
  }
  const half = (name: 'a' | 'b'): Half => ({
    addresses: addresses[name],
    namespace: names[name],
    within: ['ip', 'netns', 'exec', names[name]],
  });
  return {
    a: half('a'),
    b: half('b'),
    cut: () => {
      neighbours(between.from, between.to, NOWHERE);
      neighbours(between.to, between.from, NOWHERE);
    },
    heal: () => {
      neighbours(between.from, between.to);
      neighbours(between.to, between.from);
    },
    close,
  };
}

function route(from: Side, to: Side): void {
  for (const address of to.own)
    ip(from.namespace, 'route', 'replace', `${address}/32`, 'dev', from.device, 'src', from.own[0] ?? '');
  neighbours(from, to);
}

/** Says at `from` by which hardware address the addresses of `to` are reached. */
function neighbours(from: Side, to: Side, hardware = hardwareOf(to)): void {
  for (const address of to.own)
    ip(from.namespace, ...['neigh', 'replace', address, 'lladdr', hardware, 'dev', from.device, 'nud', 'permanent']);
}

function hardwareOf({ namespace, device }: Side): string {
  return /link\/ether (\S+)/.exec(ip(namespace, 'link', 'show', 'dev', device))?.[1] ?? '';
}

function ip(namespace: string | undefined, ...args: readonly string[]): string {
  return run('ip', ...(namespace === undefined ? [] : ['-n', namespace]), ...args);
}

function run(...[command = '', ...args]: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function attempt(...command: readonly string[]): void {
  try {
    run(...command);
  } catch {
    // it was not made
  }
}
