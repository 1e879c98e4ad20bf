import { distributionLinks, distributionRoutes, openApiOf } from '@millrace/api';
import { commonHandlers, type DirectorySource } from '../node/common-handlers.ts';
import { type MountOptions, mountRoutes } from '../node/mount.ts';
import type { TlsServer } from '../node/server.ts';
import type { Tickets } from './tickets.ts';
import { uploadHandlers } from './upload-handlers.ts';
import type { Uploads } from './uploads.ts';

export const openApi = openApiOf(distributionRoutes, 'Millrace distribution node', {
  links: distributionLinks,
  guests: false,
});

/** The API of the distribution node. */
export function addRoutes(
  server: TlsServer,
  {
    uploads,
    tickets,
    directories,
    ...options
  }: MountOptions & {
    readonly uploads: Uploads;
    readonly tickets: Tickets;
    readonly directories: DirectorySource | undefined;
  },
): void {
  const handlers = { ...commonHandlers(openApi, directories), ...uploadHandlers(uploads, tickets) };
  mountRoutes(server, distributionRoutes, handlers, options);
}
