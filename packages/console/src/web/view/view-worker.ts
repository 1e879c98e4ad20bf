import { MillraceError, toMillraceError } from '@millrace/base';
import { type LayerIndex, LayerIndexer, type LayerPath, readLayer } from '@millrace/gcode';
import type { ViewAnswer, ViewRequest } from './messages.ts';
import { modelFormat } from './model-format.ts';

// Reads a G-code file for the page. The file is read in pieces, never as a whole, and nothing of it leaves the browser.

const CHUNK = 2 ** 21;
/** Bytes read around a layer, so that its neighbours need no reading. */
const WINDOW = 2 ** 20;
const HEAD = 1024;
const NEWLINE = 10;
/** Time between two reports of progress, ms. */
const REPORT_MS = 100;

/** The part of a worker's global scope used here. */
interface Scope {
  onmessage: ((event: { readonly data: ViewRequest }) => void) | null;
  postMessage(answer: ViewAnswer, transfer?: Transferable[]): void;
}
const scope = globalThis as unknown as Scope;

let file: File | undefined;
let index: LayerIndex | undefined;
let sending = 0;
let cached: { readonly from: number; readonly bytes: Uint8Array } | undefined;

async function bytesOf(from: number, to: number): Promise<Uint8Array> {
  if (file === undefined) throw new MillraceError('E_INTERNAL', 'no file is open');
  const buffer = await file
    .slice(from, to)
    .arrayBuffer()
    .catch((cause: unknown) => {
      throw new MillraceError('E_INPUT', 'the file cannot be read any more: choose it again', { cause });
    });
  return new Uint8Array(buffer);
}

async function windowed(from: number, to: number): Promise<Uint8Array> {
  if (cached === undefined || from < cached.from || to > cached.from + cached.bytes.length) {
    const begin = Math.max(0, from - WINDOW / 4);
    cached = { from: begin, bytes: await bytesOf(begin, Math.max(to, begin + WINDOW)) };
  }
  return cached.bytes.subarray(from - cached.from, to - cached.from);
}

async function open(opened: File): Promise<void> {
  file = opened;
  const format = modelFormat(await bytesOf(0, HEAD), opened.size);
  if (format !== undefined) return scope.postMessage({ type: 'model', format });
  const indexer = new LayerIndexer();
  let reported = 0;
  for (let at = 0; at < opened.size; ) {
    const chunk = await bytesOf(at, at + CHUNK);
    // Complete lines, so that no comment is cut; a line without an end is read as it comes.
    const end = at + chunk.length < opened.size ? chunk.lastIndexOf(NEWLINE) + 1 : 0;
    const lines = end > 0 ? chunk.subarray(0, end) : chunk;
    indexer.push(lines);
    at += lines.length;
    if (performance.now() - reported < REPORT_MS) continue;
    reported = performance.now();
    scope.postMessage({ type: 'progress', bytes: at, layers: indexer.layers });
  }
  index = indexer.finish();
  const { states: _, ...table } = index;
  scope.postMessage({ type: 'index', table });
}

const buffersOf = ({ points, kinds, tools, lines }: LayerPath) => [
  points.buffer,
  kinds.buffer,
  tools.buffer,
  lines.buffer,
];

async function sendParts(layers: readonly number[], call: number): Promise<void> {
  sending = call;
  for (const layer of layers) {
    if (index === undefined || sending !== call) return;
    const path = await readLayer(index, layer, windowed);
    scope.postMessage({ type: 'part', path, call }, buffersOf(path));
  }
}

async function perform(request: ViewRequest): Promise<void> {
  if (request.type === 'open') return open(request.file);
  if (request.type === 'parts') return sendParts(request.layers, request.call);
  if (index === undefined) return;
  const path = await readLayer(index, request.layer, windowed);
  scope.postMessage({ type: 'layer', path }, buffersOf(path));
}

scope.onmessage = ({ data }) => {
  perform(data).catch((error: unknown) => {
    const { code, message } = toMillraceError(error);
    scope.postMessage({ type: 'failed', code, message });
  });
};
