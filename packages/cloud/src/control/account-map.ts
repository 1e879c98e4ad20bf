import type { Closable, Logger } from '@millrace/base';
import type { Ledger } from '@millrace/ledger';

/** Accounts that may change before the map's root is logged without waiting for the timer. */
export const MAP_CHANGES = 2_048;
/** Interval at which the root of the account map is logged if accounts have changed, ms. */
const MAP_EVERY_MS = 60_000;

/** Logs the root of the account map regularly. Appends, permits and certificates continue when that fails. */
export function logMapRegularly(ledger: Pick<Ledger, 'logMap'>, logger: Logger): Closable {
  const timer = setInterval(() => void logMap(ledger, logger), MAP_EVERY_MS);
  return { close: () => clearInterval(timer) };
}

export async function logMap(ledger: Pick<Ledger, 'logMap'>, logger: Logger): Promise<void> {
  try {
    await ledger.logMap();
  } catch (err) {
    logger.error({ err }, 'account map not logged: certificates do not prove that they are complete; check the ledger');
  }
}
