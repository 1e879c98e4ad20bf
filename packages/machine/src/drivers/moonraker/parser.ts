import { z } from 'zod';
import { MAX_LINE } from '../controller/text-lines.ts';

/** A message of Moonraker (JSON-RPC 2.0; docs/external_api of Arksine/moonraker). Other fields are of no interest. */
const messageSchema = z.object({
  id: z.number().optional(),
  result: z.unknown().optional(),
  error: z.object({ code: z.number().optional(), message: z.string().optional() }).optional(),
  method: z.string().optional(),
  params: z.array(z.unknown()).optional(),
});
export type Message = z.output<typeof messageSchema>;

const heater = z.object({ temperature: z.number().nullish(), target: z.number().nullish() }).nullish();

const statusSchema = z.object({
  extruder: heater,
  heater_bed: heater,
  'heater_generic chamber': heater,
  gcode_move: z.object({ gcode_position: z.array(z.number()).nullish() }).nullish(),
  pause_resume: z.object({ is_paused: z.boolean().nullish() }).nullish(),
});
export type Status = z.output<typeof statusSchema>;

/** @returns undefined for anything that is not a message */
export function parseMessage(text: string): Message | undefined {
  try {
    return messageSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

export function parseStatus(value: unknown): Status | undefined {
  return statusSchema.safeParse(value).data;
}

/** A line of Klipper's G-code output. */
export type Output =
  | { readonly type: 'unknown-command' }
  | { readonly type: 'fault'; readonly cause: string }
  | { readonly type: 'action'; readonly action: string }
  | { readonly type: 'other' };

const faults: readonly (readonly [RegExp, string])[] = [
  [/must home/i, 'an axis is not homed'],
  [/out of range/i, 'a move out of range'],
  [/minimum temp|extrude below/i, 'the hot end is too cold to extrude'],
  [/extrude only move too long|maximum.*extru|extru.*maximum/i, 'an extrusion that is too long'],
  [/not heating at expected rate|thermal/i, 'a heater does not get warm as it should'],
  [/lost communication/i, 'the connection to the board of the printer is lost'],
  [/timer too close|rescheduled timer/i, 'the computer of Klipper is too slow'],
  [/adc out of range/i, 'a sensor reads impossible values: it may be disconnected'],
  [/endstop|no trigger/i, 'homing failed'],
  [/probe/i, 'probing the bed failed'],
  [/emergency|M112|shutdown|not ready/i, 'Klipper has shut down'],
];

/** The cause in our words: Klipper may quote the line in its own. */
export function causeOf(text: string): string {
  const start = text.slice(0, MAX_LINE);
  return faults.find(([pattern]) => pattern.test(start))?.[1] ?? 'Klipper reports an error: see its console';
}

/**
 * Klipper answers a request with success although it did not know a command: only its output says so. Errors begin with
 * `!!`.
 */
export function parseOutput(line: string): Output {
  if (/^\/\/\s*unknown command/i.test(line)) return { type: 'unknown-command' };
  const action = /^\/\/\s*action:\s*([a-z_]+)/i.exec(line);
  if (action) return { type: 'action', action: (action[1] as string).toLowerCase() };
  if (line.startsWith('!!')) return { type: 'fault', cause: causeOf(line) };
  return { type: 'other' };
}

/** The serial number of a board in the setting `[mcu] serial` of Klipper: a link of udev, or a CAN identifier. */
export function boardSerial(mcu: unknown): string | undefined {
  const { serial, canbus_uuid } = (mcu ?? {}) as { readonly serial?: unknown; readonly canbus_uuid?: unknown };
  if (typeof canbus_uuid === 'string' && canbus_uuid !== '') return canbus_uuid;
  if (typeof serial !== 'string') return undefined;
  const found = /_([0-9A-Za-z.-]+?)-if\d+(?:-port\d+)?$/.exec(serial)?.[1];
  // Cheap chips have no serial number; their names end with a word instead.
  return found !== undefined && /\d/.test(found) && !/usb|serial/i.test(found) ? found : undefined;
}
