/** Name of the folder in the browser's files of this origin. */
export const ORIGIN_FOLDER = 'millrace';

/** Removes everything that was kept for the browser's keys. */
export async function removeOriginFiles(): Promise<void> {
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(ORIGIN_FOLDER, { recursive: true }).catch((error: unknown) => {
    if (!(error instanceof DOMException && error.name === 'NotFoundError')) throw error;
  });
}
