import { join } from 'node:path';
import { MillraceError, Mutex } from '@millrace/base';
import { z } from 'zod';
import type { AgentParts } from './parts.ts';
import { type StateSigner, signedFile } from './signed-file.ts';

const schema = z.strictObject({
  /** What the controller reports of itself. */
  firmware: z.string(),
  /** Other firmware, for which the machine is held. It is accepted when the operator has resumed. */
  found: z.string().optional(),
});

/** Whether the connected controller is the machine's. */
export interface ControllerCheck {
  /**
   * Requires the machine's token, connects to the machine if necessary, and compares serial number and firmware.
   * @throws {MillraceError} E_HSM, E_MACHINE_UNKNOWN (another machine, or firmware that nobody has accepted), E_MACHINE
   */
  require(): Promise<void>;
}

/** The firmware that the machine has had is in firmware.state, beside `data`: it is the machine's, whatever the cloud. */
export function openControllerCheck(
  { key }: Pick<StateSigner, 'key'>,
  { config, driver, operator }: Pick<AgentParts, 'config' | 'driver' | 'operator'>,
): ControllerCheck {
  const file = signedFile(
    join(config.folder, 'firmware.state'),
    { key, installation: '' },
    { label: 'firmware', schema, remedy: 'look at the machine; to accept the firmware that it has, remove this file' },
  );
  const checks = new Mutex(); // rehearsals are answered beside prints
  const check = async () => {
    await key.token?.check();
    if (driver.telemetry().state !== 'idle') await driver.connect({ serial: config.serial });
    const { serial, kind, firmware: reported } = await driver.identify();
    if (serial !== config.serial || kind !== config.kind)
      throw new MillraceError('E_MACHINE_UNKNOWN', 'the connected machine is not the configured one', {
        data: { expected: config.serial, found: serial },
      });
    const firmware = reported.replace(/[^\x20-\x7e]/g, '?'); // it is shown on terminals
    const known = await file.read();
    if (known?.firmware === firmware && known.found === undefined) return;
    if (known === undefined || known.firmware === firmware || known.found === firmware) return file.write({ firmware });
    const why = `the controller has other firmware than before: ${firmware}, not ${known.firmware}`;
    // Held first: after a kill in between, it is held once more.
    await operator.hold(why);
    await file.write({ ...known, found: firmware });
    throw new MillraceError('E_MACHINE_UNKNOWN', `${why}. Look at the machine, then resume`);
  };
  return { require: () => checks.run(check) };
}
