import type { Heater } from '@millrace/protocol';
import type { Heat } from '../contract.ts';

export type Temperatures = Partial<Record<Heater, Heat>>;

/** A line of Marlin or another RepRap firmware. */
export type Reply =
  | {
      readonly type: 'ok';
      /** Line number, free moves and free command slots (ADVANCED_OK). */
      readonly line?: number;
      readonly moves?: number;
      readonly slots?: number;
      /** The answer to M105. */
      readonly temperatures?: Temperatures;
    }
  | { readonly type: 'resend'; readonly line: number }
  | { readonly type: 'busy'; readonly user: boolean }
  | { readonly type: 'wait' }
  | { readonly type: 'start' }
  | { readonly type: 'action'; readonly action: string }
  | { readonly type: 'temperatures'; readonly temperatures: Temperatures }
  | { readonly type: 'firmware'; readonly name: string; readonly uuid?: string }
  | { readonly type: 'capability'; readonly name: string; readonly on: boolean }
  /** A line arrived damaged; a request to resend follows. */
  | { readonly type: 'damaged' }
  | { readonly type: 'unknown-command' }
  /** The firmware has stopped. `cause` is our text: a firmware may quote the line in its own. */
  | { readonly type: 'fault'; readonly cause: string }
  | { readonly type: 'other' };

const faults: readonly (readonly [RegExp, string])[] = [
  [/thermal runaway/i, 'thermal runaway: a heater does not follow its sensor'],
  [/heating failed/i, 'heating failed: a heater does not get warm'],
  [/mintemp/i, 'a sensor reads less than the lowest temperature: it may be disconnected'],
  [/maxtemp/i, 'a sensor reads more than the highest temperature'],
  [/emergency|M112/i, 'the firmware was stopped in an emergency'],
  [/homing failed/i, 'homing failed'],
  [/probing failed|probe/i, 'probing the bed failed'],
  [/endstop/i, 'an end stop was hit'],
  [/halted|kill|stopped due to errors/i, 'the firmware has halted'],
];

const damaged = /line number is not|checksum mismatch|no checksum|no line number|expected line|format error/i;

/** Reads one line, without its line end. */
export function parseReply(line: string): Reply {
  if (/^ok\b/i.test(line)) return parseOk(line);
  const resend = /^(?:resend|rs)\b[: ]*N?\s*(\d+)/i.exec(line);
  if (resend) return { type: 'resend', line: Number(resend[1]) };
  const busy = /^(?:echo:\s*)?busy:\s*(.*)$/i.exec(line);
  if (busy) return { type: 'busy', user: /user|input/i.test(busy[1] ?? '') };
  if (/^wait$/i.test(line)) return { type: 'wait' };
  if (/^start$/i.test(line)) return { type: 'start' };
  const action = /^\/\/\s*action:\s*([a-z_]+)/i.exec(line);
  if (action) return { type: 'action', action: (action[1] as string).toLowerCase() };
  const capability = /^Cap:([A-Z0-9_]+):([01])/.exec(line);
  if (capability) return { type: 'capability', name: capability[1] as string, on: capability[2] === '1' };
  if (/FIRMWARE_NAME:/.test(line)) return parseFirmware(line);
  if (/^echo:\s*unknown command/i.test(line)) return { type: 'unknown-command' };
  if (/^(error|!!)/i.test(line)) return parseError(line);
  if (/^(T\d?|B|C):\s*-?\d/.test(line)) return { type: 'temperatures', temperatures: parseTemperatures(line) };
  return { type: 'other' };
}

function parseOk(line: string): Reply {
  const number = (letter: string) => new RegExp(`\\b${letter}(\\d+)\\b`).exec(line)?.[1];
  const [n, moves, slots] = [number('N'), number('P'), number('B')];
  const isReport = /\b(T\d?|B):\s*-?\d/.test(line);
  return {
    type: 'ok',
    ...(n === undefined ? {} : { line: Number(n) }),
    ...(moves === undefined ? {} : { moves: Number(moves) }),
    ...(slots === undefined ? {} : { slots: Number(slots) }),
    ...(isReport ? { temperatures: parseTemperatures(line) } : {}),
  };
}

function parseError(line: string): Reply {
  if (damaged.test(line)) return { type: 'damaged' };
  if (/unknown command/i.test(line)) return { type: 'unknown-command' };
  const known = faults.find(([pattern]) => pattern.test(line));
  return { type: 'fault', cause: known?.[1] ?? 'the firmware reports an error: see its display' };
}

function parseFirmware(line: string): Reply {
  const name = /FIRMWARE_NAME:\s*(.*?)\s*(?:[A-Z_]{4,}:|$)/.exec(line)?.[1] ?? '';
  const uuid = /\b(?:UUID|SERIAL_NUMBER):\s*([0-9A-Za-z-]+)/.exec(line)?.[1];
  return {
    type: 'firmware',
    name: name.slice(0, 64),
    ...(uuid === undefined || /^[0-]*$/.test(uuid) ? {} : { uuid }),
  };
}

/** `T:201.3 /210.0 B:60.1 /60.0 C:30 /0 @:64`; the active hot end is T, or T0. */
function parseTemperatures(line: string): Temperatures {
  const heat = (letter: string): Heat | undefined => {
    const found = new RegExp(`\\b${letter}:\\s*(-?\\d+(?:\\.\\d+)?)(?:\\s*/\\s*(-?\\d+(?:\\.\\d+)?))?`).exec(line);
    return found === null ? undefined : { now: Number(found[1]), target: Number(found[2] ?? 0) };
  };
  const all = { hotend: heat('T') ?? heat('T0'), bed: heat('B'), chamber: heat('C') };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Temperatures;
}
