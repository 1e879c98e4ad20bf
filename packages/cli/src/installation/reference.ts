import type { InstallationReference } from '@millrace/client';
import { type Installation, readAddresses } from './open.ts';

/** What another computer needs to reach and verify this installation. */
export async function referenceOf(from: Installation): Promise<InstallationReference> {
  const { description, directories } = from;
  const { installation, adminKey } = description;
  const { control, distribution } = await readAddresses(from);
  return { installation, adminKey, directory: directories.sequence, addresses: { control, distribution } };
}
