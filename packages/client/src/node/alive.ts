import { hasSystemCode } from './files.ts';

/** Whether a process with this number exists; somebody else's counts too. */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasSystemCode(error, 'EPERM');
  }
}
