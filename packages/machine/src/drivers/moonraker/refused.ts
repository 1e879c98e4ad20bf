/**
 * Commands that would let the printer keep the design, or that end Klipper.
 * @returns the reason, without bytes of the design
 */
export function refusedByKlipper(command: Uint8Array): string | undefined {
  const text = String.fromCharCode(...command).toUpperCase();
  if (/[^\x20-\x7e\t]/.test(text)) return 'a byte that is not ASCII';
  if (/^M(28|928)\b/.test(text)) return 'a command that writes the design to a card of the printer';
  if (/^(SAVE_CONFIG|RESTART|FIRMWARE_RESTART)\b/.test(text)) return 'a command that restarts Klipper';
  if (/^[XYZEFIJKRS]\s*[-+.\d]/.test(text)) return 'words without a command, which Klipper skips';
  if (/^(G[\d\s.]|M8[23]\b).*[GM]\s*\d/.test(text)) return 'two commands, of which Klipper executes one';
  return undefined;
}
