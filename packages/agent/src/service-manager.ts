import { execFile } from 'node:child_process';
import type { Closable, Logger } from '@millrace/base';

/**
 * Tells systemd that the agent is ready, what it does, and that it is alive (sd_notify(3)). Without NOTIFY_SOCKET it
 * does nothing. Node cannot send datagrams to a local socket, so the program systemd-notify does.
 */
export function notifyServiceManager(
  env: Readonly<Record<string, string | undefined>>,
  status: () => string,
  logger: Logger,
): Closable {
  const { NOTIFY_SOCKET, WATCHDOG_USEC } = env;
  if (NOTIFY_SOCKET === undefined) return { close: () => undefined };
  const tell = (...what: string[]) =>
    execFile('systemd-notify', what, { timeout: 10_000 }, (error) => {
      if (error !== null) logger.warn({ reason: error.message }, 'cannot notify systemd');
    });
  tell('--ready', `--status=${status()}`);
  const watchdogMs = Number(WATCHDOG_USEC) / 1000;
  const timer =
    watchdogMs > 0 ? setInterval(() => tell('WATCHDOG=1', `--status=${status()}`), watchdogMs / 3) : undefined;
  return {
    close: () => {
      clearInterval(timer);
      tell('--stopping');
    },
  };
}
