import { fetchTransport } from '@millrace/api';
import { systemClock } from '@millrace/base';
import { guestDirectory } from '@millrace/client';
import {
  type Directory,
  type DirectoryAnchor,
  directoryAt,
  type HttpClient,
  verifyDirectory,
} from '@millrace/protocol';

// What workers need of the installation.

/** To control, under the address of this page. */
export const control: HttpClient = { ...fetchTransport(''), close: () => undefined };

/** The newest directory and its number, verified by the administrator's key of the invitation. */
export async function directoryBy(anchor: DirectoryAnchor): Promise<{ directory: Directory; sequence: number }> {
  const document = verifyDirectory(await guestDirectory(control), anchor);
  return { directory: directoryAt(document, systemClock.now()), sequence: document.sequence };
}
