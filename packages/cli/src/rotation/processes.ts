import { type Clock, MillraceError, sleep } from '@millrace/base';
import { hasSystemCode } from '@millrace/client/node';
import type { RunPaths } from '../supervisor/run-paths.ts';
import { readSupervisorStatus } from '../supervisor/status.ts';

/** The processes of an installation, for key rotation. */
export interface Processes {
  /** Names of the running processes: nodes by role, agents by machine. */
  running(): Promise<readonly string[]>;
  /** Restarts a node; resolves when it serves. */
  restart(name: string): Promise<void>;
}

/** The processes of a stopped installation. */
export const noProcesses: Processes = {
  running: async () => [],
  restart: async () => undefined,
};

const LOOK_MS = 100;
const INSIST_MS = 15_000;
const GIVE_UP_MS = 120_000;

/** The processes of a supervisor, in this process or another. It restarts every process that ends. */
export function supervisedProcesses(run: RunPaths, clock: Clock, signal?: AbortSignal): Processes {
  const list = async () => (await readSupervisorStatus(run))?.processes ?? [];
  return {
    running: async () => (await list()).filter(({ state }) => state === 'running').map(({ name }) => name),
    restart: async (name) => {
      const before = (await list()).find((process) => process.name === name);
      if (before?.pid === null || before === undefined) return;
      send(before.pid, 'SIGTERM');
      const began = clock.monotonic();
      for (let insisted = false; ; await sleep(LOOK_MS, signal)) {
        const now = (await list()).find((process) => process.name === name);
        if (now === undefined) return; // the supervisor was stopped
        if (now.state === 'running' && now.pid !== before.pid) return;
        const waited = clock.monotonic() - began;
        if (!insisted && waited > INSIST_MS) {
          insisted = true;
          if (now.pid === before.pid) send(before.pid, 'SIGKILL');
        }
        if (waited > GIVE_UP_MS) throw new MillraceError('E_TIMEOUT', `${name} does not serve again`);
      }
    },
  };
}

function send(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!hasSystemCode(error, 'ESRCH')) throw error;
  }
}
