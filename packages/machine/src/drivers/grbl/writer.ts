/** Real-time commands: single bytes that Grbl takes out of the stream as they arrive. */
export const realtime = {
  status: Uint8Array.of(0x3f),
  feedHold: Uint8Array.of(0x21),
  resume: Uint8Array.of(0x7e),
  reset: Uint8Array.of(0x18),
  /** Overrides back to 100 %: feed, rapid, spindle. */
  noOverrides: Uint8Array.of(0x90, 0x95, 0x99),
} as const;

/** LINE_BUFFER_SIZE of Grbl, less its terminator. */
export const maxLine = 79;

/** The command without blanks, which Grbl drops anyway and which would fill its buffer, with a line end. */
export function lineOf(command: Uint8Array): Uint8Array {
  const out = new Uint8Array(command.length + 1);
  let length = 0;
  for (const byte of command) if (byte !== 32 && byte !== 9) out[length++] = byte;
  out[length] = 10;
  return out.subarray(0, length + 1);
}

/**
 * Commands that Grbl does not have, that change its settings, or that contain a byte which it would take as a
 * real-time command.
 * @returns the reason, without bytes of the design
 */
export function refusedByGrbl(command: Uint8Array): string | undefined {
  const text = String.fromCharCode(...command)
    .toUpperCase()
    .replace(/[ \t]/g, '');
  if (/[^\x20-\x7e]|[!?~]/.test(text)) return 'a byte that this controller would take as a real-time command';
  if (text.startsWith('$')) return 'a system command of the controller';
  if (text.length > maxLine) return `more than the ${maxLine} bytes that the controller accepts in one line`;
  if (/G(73|76|8[1-9])(?!\d)/.test(text)) return 'a canned cycle, which this controller does not have';
  return undefined;
}

/** Commands that write to the EEPROM: Grbl loses bytes that arrive meanwhile. */
export function writesMemory(command: Uint8Array): boolean {
  return /G\s*(10|28\.1|30\.1)(?!\d)/i.test(String.fromCharCode(...command));
}
