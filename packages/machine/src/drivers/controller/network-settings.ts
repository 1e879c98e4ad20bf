import { z } from 'zod';
import { controllerSettings, milliseconds } from './controller-settings.ts';

/** Settings of controllers behind an HTTP server. */
export const networkSettings = controllerSettings.extend({
  /** A file with the server's API key, readable by the agent only. */
  apiKeyFile: z.string().min(1).max(4_096).optional(),
  /** Time for the server to answer. */
  connectMs: milliseconds.default(10_000),
});

/** The address of a server. */
export const serverUrl = z
  .url({ protocol: /^https?$/ })
  .max(1_024)
  .transform((url) => url.replace(/\/+$/, ''));

/** Commands in a request, and requests that may be unanswered. */
export const requestWindow = ({ most, usual }: { readonly most: number; readonly usual: number }) =>
  z
    .strictObject({
      lines: z.number().int().min(1).max(1_000).default(32),
      requests: z.number().int().min(1).max(most).default(usual),
    })
    .prefault({});
