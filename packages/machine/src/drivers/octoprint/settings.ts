import { z } from 'zod';
import { stopCommands, usualStop } from '../controller/controller-settings.ts';
import { networkSettings, requestWindow, serverUrl } from '../controller/network-settings.ts';

export const octoprintSettings = networkSettings.extend({
  url: serverUrl.default('http://127.0.0.1:5000'),
  /**
   * Commands in a request, and requests whose last command the printer has not reached. OctoPrint reports twice a
   * second, so the window has to cover more than that.
   */
  window: requestWindow({ most: 32, usual: 4 }),
  stopCommands: stopCommands(z.string().min(1).max(80), usualStop),
});
export type OctoprintSettings = z.output<typeof octoprintSettings>;
