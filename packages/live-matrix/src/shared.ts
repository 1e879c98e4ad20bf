/** Memory that worker threads read in place. A browser shares none with pages that are not cross-origin isolated. */
export function sharedMemory(bytes: number): SharedArrayBuffer | ArrayBuffer {
  return canShare() ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
}

export function canShare(): boolean {
  return typeof SharedArrayBuffer === 'function';
}
