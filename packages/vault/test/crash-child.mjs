// Does a task on a vault and kills itself before its n-th durable step.
//   node crash-child.mjs FOLDER TASK [N]
import { writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { openLmdb } from '@millrace/stores';
import { openDiskVault, tasks } from '@millrace/testkit/vault/disk-vault.mjs';
import * as vault from '../dist/index.js';

const [, , folder, task, nth = 'never'] = process.argv;
const steps = [];

function die(kind) {
  steps.push(kind);
  // Dying before a step leaves what dying after the one before it would: nothing between two of them is durable.
  if (steps.length === Number(nth)) process.kill(process.pid, 'SIGKILL');
}

async function step(kind, work) {
  die(kind);
  return work();
}

// Files: slots of keys, and cells. What a renewing thread writes is one step: nobody names those slots yet, and the test
// fills such slots with noise.
const handle = await open(import.meta.filename);
const files = Object.getPrototypeOf(handle);
await handle.close();
for (const method of ['write', 'writev', 'datasync', 'sync', 'truncate']) {
  const original = files[method];
  files[method] = function fused(...args) {
    die('file');
    return original.apply(this, args);
  };
}
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function fused(...args) {
  die('thread');
  return post.apply(this, args);
};

const opened = await openDiskVault({ vault, openLmdb, folder, step });
await tasks[task](opened);
writeSync(1, JSON.stringify(steps));
process.exit(0);
