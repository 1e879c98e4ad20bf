import { z } from 'zod';
import { stopCommands } from '../controller/controller-settings.ts';
import { networkSettings, requestWindow, serverUrl } from '../controller/network-settings.ts';

export const moonrakerSettings = networkSettings.extend({
  url: serverUrl.default('http://127.0.0.1:7125'),
  /**
   * Commands in a request, and requests that may be unanswered. Klipper itself plans two seconds ahead, and a pause does
   * not reach commands that were sent before.
   */
  window: requestWindow({ most: 8, usual: 1 }),
  stopCommands: stopCommands(z.string().min(1).max(256), ['TURN_OFF_HEATERS', 'M107', 'G91', 'G1 Z5 F300', 'G90']),
});
export type MoonrakerSettings = z.output<typeof moonrakerSettings>;
