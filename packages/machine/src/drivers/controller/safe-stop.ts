import { type Logger, MillraceError, toMillraceError } from '@millrace/base';

/** What has to be known about a machine while it stops. */
export interface Stopping {
  readonly machine: 'printer' | 'machine';
  readonly logger: Logger;
  failure(): MillraceError | undefined;
  emergencyStop(): Promise<void>;
}

/**
 * Stops a machine safely, or like in an emergency if that does not succeed.
 * @throws {MillraceError} the failure of the machine, or E_MACHINE after an emergency stop
 */
export async function stopSafely(
  { machine, logger, failure, emergencyStop }: Stopping,
  stop: () => Promise<void>,
): Promise<void> {
  try {
    await stop();
  } catch (cause) {
    const failed = failure();
    if (failed !== undefined) throw failed;
    logger.error('no safe stop in time: emergency stop');
    await emergencyStop();
    throw new MillraceError('E_MACHINE', `the ${machine} did not stop in time and was stopped like in an emergency`, {
      cause: toMillraceError(cause),
    });
  }
}
