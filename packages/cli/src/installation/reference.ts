import type { InstallationReference } from '@millrace/client';
import { type Installation, readAddresses } from './open.ts';

/** What another computer needs to reach and verify this installation. */
export async function referenceOf({ description, directories, layout }: Installation): Promise<InstallationReference> {
  const { installation, adminKey } = description;
  const { control, distribution } = await readAddresses(layout);
  return { installation, adminKey, directory: directories.sequence, addresses: { control, distribution } };
}
