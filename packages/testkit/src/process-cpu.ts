import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** Cores that a process of Linux keeps busy on average during this time. */
export async function coresOf(pid: number, milliseconds: number): Promise<number> {
  const spent = async () => {
    // After the name, which may hold blanks: state is field 3, utime and stime are 14 and 15, in hundredths of a second.
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const [began, before] = [performance.now(), await spent()];
  await sleep(milliseconds);
  return (1_000 * ((await spent()) - before)) / (performance.now() - began);
}
