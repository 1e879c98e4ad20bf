const STAR = 42;
const NEWLINE = 10;

/** Longest command with number and checksum, bytes: MAX_CMD_SIZE of Marlin, less its terminator. */
export const maxLine = 95;
/** Room for `N`, a number of up to nine digits, a space, and `*255`. */
const frame = 15;
export const maxCommand = maxLine - frame;

/**
 * `N12 G1 X3*87\n`: the checksum is the XOR of all bytes before the star.
 * @param command ASCII, without a line end
 */
export function numbered(line: number, command: Uint8Array): Uint8Array {
  const head = `N${line} `;
  const body = new Uint8Array(head.length + command.length);
  for (let at = 0; at < head.length; at += 1) body[at] = head.charCodeAt(at);
  body.set(command, head.length);
  let sum = 0;
  for (const byte of body) sum ^= byte;
  const tail = String(sum);
  const out = new Uint8Array(body.length + tail.length + 2);
  out.set(body);
  body.fill(0);
  out[body.length] = STAR;
  for (let at = 0; at < tail.length; at += 1) out[body.length + 1 + at] = tail.charCodeAt(at);
  out[out.length - 1] = NEWLINE;
  return out;
}

/** A command outside the numbered stream, which a firmware with EMERGENCY_PARSER executes at once. */
export function unnumbered(command: string): Uint8Array {
  return new TextEncoder().encode(`${command}\n`);
}
