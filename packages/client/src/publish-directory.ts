import { createApiClient, distributionRoutes } from '@millrace/api';
import type { HttpClient, SignedDirectory } from '@millrace/protocol';

/**
 * Gives a newer directory to one distribution node: an `Api` reaches only the first one of its directory.
 * @throws {MillraceError} E_DIRECTORY, E_FORBIDDEN unless the caller is the administrator; E_UNAVAILABLE
 */
export async function publishDirectoryAt(
  transport: HttpClient,
  signed: SignedDirectory,
  options: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number },
): Promise<void> {
  await createApiClient(distributionRoutes, { transport }).directory.publish({ body: signed }, options);
}
