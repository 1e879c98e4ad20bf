import { hasSystemCode } from './files.ts';

/** Whether a process with this number exists, of any user. */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasSystemCode(error, 'EPERM');
  }
}
