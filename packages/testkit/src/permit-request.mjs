// Plain JavaScript, because the client processes of the race for permits run without a build.
import { systemClock, systemRandom } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';

/** How long a request is valid, ms. */
const REQUEST_MS = 10 * 60_000;

export function permitRequest(stated) {
  const issued = stated.issued ?? systemClock.now();
  return {
    type: 'permit.request',
    id: systemRandom(16),
    issued,
    expires: issued + REQUEST_MS,
    material: 'PLA',
    ephemeral: generateP256Key().publicKey,
    run: systemRandom(16),
    from: 0,
    order: 16,
    suite: 'keccak256',
    hints: 'dense',
    tableMs: 10,
    ...stated,
  };
}
