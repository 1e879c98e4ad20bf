const QUOTE = 34;
const BACKSLASH = 92;

/**
 * A JSON document around texts of the design, built without strings, so that it can be wiped.
 * @param before JSON up to the first text
 * @param texts printable ASCII
 * @param between what comes between two texts: an escaped line feed, or the end of one string and the start of the next
 */
export function jsonWith(before: string, texts: readonly Uint8Array[], between: string, after: string): Uint8Array {
  const [head, middle, tail] = [before, between, after].map((text) => new TextEncoder().encode(text));
  let length = (head?.length ?? 0) + (tail?.length ?? 0);
  for (const text of texts) {
    length += text.length + (middle?.length ?? 0);
    for (const byte of text) if (byte === QUOTE || byte === BACKSLASH) length += 1;
  }
  const out = new Uint8Array(length);
  let at = 0;
  const put = (bytes: Uint8Array | undefined) => {
    if (bytes === undefined) return;
    out.set(bytes, at);
    at += bytes.length;
  };
  put(head);
  texts.forEach((text, index) => {
    if (index > 0) put(middle);
    for (const byte of text) {
      if (byte === QUOTE || byte === BACKSLASH) out[at++] = BACKSLASH;
      out[at++] = byte;
    }
  });
  put(tail);
  return out.subarray(0, at);
}
