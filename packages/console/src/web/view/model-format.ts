const STL_HEAD = 84;
const STL_FACET = 50;

/** The format of a file that holds a shape instead of a path. @param head its first bytes, 84 or more if it has them */
export function modelFormat(head: Uint8Array, size: number): 'STL' | '3MF' | undefined {
  const text = new TextDecoder('latin1').decode(head);
  if (text.startsWith('PK\u0003\u0004')) return '3MF';
  if (/^\s*solid\s[^\n]*\n\s*facet\s/i.test(text)) return 'STL';
  if (head.length < STL_HEAD) return undefined;
  const facets = new DataView(head.buffer, head.byteOffset).getUint32(80, true);
  return size === STL_HEAD + STL_FACET * facets ? 'STL' : undefined;
}
