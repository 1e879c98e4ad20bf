import { toMillraceError } from '@millrace/base';
import { platesIn, unpackPlate } from './plate-files.ts';
import type { PlateAnswer, PlateRequest } from './plate-messages.ts';

// Reads a 3MF file for the page. Nothing of it leaves the browser.

/** Time between two reports of progress, ms. */
const REPORT_MS = 100;

/** The part of a worker's global scope used here. */
interface Scope {
  onmessage: ((event: { readonly data: PlateRequest }) => void) | null;
  postMessage(answer: PlateAnswer): void;
}
const scope = globalThis as unknown as Scope;

async function perform(request: PlateRequest): Promise<PlateAnswer> {
  if (request.type === 'list') return { type: 'plates', plates: await platesIn(request.file) };
  let reported = 0;
  const gcode = await unpackPlate(request.file, request.part, (done, total) => {
    if (performance.now() - reported < REPORT_MS) return;
    reported = performance.now();
    scope.postMessage({ type: 'progress', done, total });
  });
  return { type: 'unpacked', gcode };
}

scope.onmessage = ({ data }) => {
  perform(data).then(
    (answer) => scope.postMessage(answer),
    (error: unknown) => {
      const { code, message } = toMillraceError(error);
      scope.postMessage({ type: 'failed', code, message });
    },
  );
};
