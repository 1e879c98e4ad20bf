import { execFileSync } from 'node:child_process';

/** A network namespace for a process, connected by an emulated bad network. */
export interface BadNetwork {
  /** Address of this end. */
  readonly host: string;
  /** Command prefix that runs a command at the other end. */
  readonly within: readonly string[];
  /** Number of packets that netem dropped. */
  dropped(): number;
  close(): void;
}

/**
 * Emulates a bad network (Linux netem) in both directions between this process and a network namespace. Needs root,
 * `ip`, `tc` and a kernel with netem.
 * @param how netem arguments, such as `delay 100ms`
 * @returns the network, or the reason why it is unavailable
 */
export function openBadNetwork(...how: readonly string[]): BadNetwork | string {
  const id = process.pid % 100_000;
  const [name, outside, inside] = [`millrace${id}`, `mr${id}a`, `mr${id}b`];
  const within = ['ip', 'netns', 'exec', name];
  const host = '10.213.77.1';
  const close = () => {
    try {
      run('ip', 'netns', 'del', name); // also removes both ends of the link
    } catch {
      // the namespace was not created
    }
  };
  try {
    run('ip', 'netns', 'add', name);
    run('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', name);
    run('ip', 'addr', 'add', `${host}/24`, 'dev', outside);
    run('ip', 'link', 'set', outside, 'up');
    run(...within, 'ip', 'addr', 'add', '10.213.77.2/24', 'dev', inside);
    run(...within, 'ip', 'link', 'set', inside, 'up');
    run('tc', 'qdisc', 'add', 'dev', outside, 'root', 'netem', ...how);
    run(...within, 'tc', 'qdisc', 'add', 'dev', inside, 'root', 'netem', ...how);
  } catch (cause) {
    close();
    return String(cause).split('\n').slice(0, 2).join(': ');
  }
  return {
    host,
    within,
    dropped: () => Number(/dropped (\d+)/.exec(run('tc', '-s', 'qdisc', 'show', 'dev', outside))?.[1] ?? 0),
    close,
  };
}

function run(...[command = '', ...args]: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
