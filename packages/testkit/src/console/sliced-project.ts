import { BlobWriter, TextReader, ZipWriter, type ZipWriterConstructorOptions } from '@zip.js/zip.js';

/** A zip file with these parts, such as a sliced project: `Metadata/plate_1.gcode`. */
export async function zipOf(
  parts: Readonly<Record<string, string>>,
  options: ZipWriterConstructorOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const writer = new ZipWriter(new BlobWriter(), { useWebWorkers: false, ...options });
  for (const [name, text] of Object.entries(parts)) await writer.add(name, new TextReader(text));
  return new Uint8Array(await (await writer.close()).arrayBuffer());
}
