/**
 * Commands that would let the printer keep the design, that interfere with the numbered stream, or that the firmware
 * would skip in part: it executes the first command of a line only, and no words without a command.
 * @returns the reason, without bytes of the design
 */
export function refusedByMarlin(command: Uint8Array): string | undefined {
  const text = String.fromCharCode(...command).toUpperCase();
  const code = /^M\s*(\d+)/.exec(text)?.[1];
  if (code === '28' || code === '928') return 'a command that writes the design to a card of the printer';
  if (text.includes('M110')) return 'a command that sets line numbers';
  if (/^[XYZEFIJKRS]\s*[-+.\d]/.test(text)) return 'words without a command, which this firmware skips';
  if (/^(G[\d\s.]|M8[23]\b).*[GM]\s*\d/.test(text)) return 'two commands, of which this firmware executes one';
  if (/[^\x20-\x7e\t]/.test(text)) return 'a byte that is not ASCII';
  return undefined;
}
