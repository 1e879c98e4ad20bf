import { MillraceError } from '@millrace/base';
import type { LayerPath } from '@millrace/gcode';
import { startWorker } from '../workers.ts';
import type { LayerTable, ViewAnswer, ViewRequest } from './messages.ts';
import workerAddress from './view-worker.js?worker&url';

export interface LayerSourceListener {
  /** @param share of the file that was read, 0 to 1 */
  progress(share: number, layers: number): void;
  model(format: 'STL' | '3MF'): void;
  opened(table: LayerTable): void;
  layer(path: LayerPath): void;
  part(path: LayerPath): void;
  failed(error: unknown): void;
}

/** A G-code file that a worker reads. */
export interface LayerSource {
  /** Asks for a layer. If several are asked for while one is read, only the last of them follows. */
  want(layer: number): void;
  /** Asks for these layers, in their order. A second call ends the first. */
  wantParts(layers: readonly number[]): void;
  close(): void;
}

export function openLayers(file: File, listener: LayerSourceListener): LayerSource {
  const worker = startWorker(workerAddress);
  let reading: number | undefined;
  let wanted: number | undefined;
  let parts = 0;
  const ask = (request: ViewRequest) => worker.postMessage(request);
  const next = () => {
    if (reading !== undefined || wanted === undefined) return;
    reading = wanted;
    wanted = undefined;
    ask({ type: 'layer', layer: reading });
  };
  worker.onmessage = ({ data }) => {
    const answer = data as ViewAnswer;
    switch (answer.type) {
      case 'progress':
        return listener.progress(answer.bytes / file.size, answer.layers);
      case 'model':
        return listener.model(answer.format);
      case 'index':
        return listener.opened(answer.table);
      case 'layer':
        reading = undefined;
        next();
        return listener.layer(answer.path);
      case 'part':
        return answer.call === parts ? listener.part(answer.path) : undefined;
      case 'failed':
        return listener.failed(new MillraceError(answer.code, answer.message));
    }
  };
  worker.onerror = (event) => {
    event.preventDefault();
    listener.failed(new MillraceError('E_INTERNAL', 'the file could not be read by this browser'));
  };
  ask({ type: 'open', file });
  return {
    want: (layer) => {
      wanted = layer;
      next();
    },
    wantParts: (layers) => {
      parts += 1;
      ask({ type: 'parts', layers, call: parts });
    },
    close: () => worker.terminate(),
  };
}
