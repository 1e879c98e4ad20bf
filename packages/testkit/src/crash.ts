import { sleep } from '@millrace/base';
import type { PrintView, Session } from '@millrace/client';
import { order, untilEnded } from './job.ts';
import type { ProcessName, TestInstallation } from './test-installation.ts';

/**
 * Orders a print, kills a process at `moment` (0 to 1) of the print, restarts it, and waits for the end of the print. A
 * moment below 0.1 falls before the first hint: before, while or after the agent calls home.
 */
export async function printWithKill(
  system: TestInstallation,
  operator: Session,
  options: { licence: string; segments: number; process: ProcessName; moment: number },
): Promise<PrintView> {
  const victim = system.processes[options.process];
  const print = await order(system, operator, options.licence);
  await untilMoment(operator, print, options);
  await victim.kill();
  await sleep(150);
  await victim.start();
  return untilEnded(operator, print, 90_000);
}

async function untilMoment(
  operator: Session,
  print: string,
  { segments, moment }: { segments: number; moment: number },
): Promise<void> {
  if (moment < 0.1) return sleep(moment * 2_000);
  for (;;) {
    const { state, progress } = await operator.api.print(print);
    if ((progress?.acked ?? 0) >= moment * segments || state === 'completed') return;
    await sleep(10);
  }
}
