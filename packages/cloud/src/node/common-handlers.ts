import type { controlRoutes, OpenApi } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import type { DirectoryFile, SignedDirectory } from '@millrace/protocol';
import type { Handlers } from './mount.ts';

export type DirectorySource = Pick<
  DirectoryFile,
  'sequence' | 'hash' | 'signed' | 'offer' | 'revocations' | 'offerRevocations'
>;

/**
 * Handlers for the routes that control and distribution both serve.
 * @param directories undefined if the directory is not read from a file
 */
export function commonHandlers(
  openApi: OpenApi,
  directories: DirectorySource | undefined,
): Handlers<Pick<typeof controlRoutes, 'openapi' | 'directory' | 'revocations'>> {
  return {
    openapi: {
      get: ({ allow }) => {
        allow();
        return openApi;
      },
    },
    directory: {
      newest: ({ query: { after, held }, allow }): SignedDirectory | undefined => {
        allow();
        if (directories === undefined) throw new MillraceError('E_NOT_FOUND', 'this node has no signed directory');
        const { sequence, hash, signed } = directories;
        const isOther = sequence === after && held !== undefined && held !== hash;
        return sequence > after || isOther ? signed : undefined;
      },
      publish: async ({ body, allow }) => {
        allow();
        if (directories === undefined) throw new MillraceError('E_STATE', 'this node has no signed directory');
        await directories.offer(body);
      },
    },
    // Both nodes accept newer lists, so that neither can withhold one.
    revocations: {
      get: ({ query: { held }, allow }) => {
        allow();
        const { revocations } = directories ?? {};
        return revocations === undefined || revocations.digest() === held ? [] : [...revocations.published()];
      },
      publish: async ({ body, allow }) => {
        allow();
        if (directories === undefined) throw new MillraceError('E_STATE', 'this node keeps no revocations');
        await directories.offerRevocations(body);
      },
    },
  };
}
