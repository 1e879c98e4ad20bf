import { MillraceError } from '@millrace/base';
import { cleanPhoto, MAX_PHOTO_BYTES, type Photo } from '@millrace/protocol';

/** Larger files are not opened, bytes. */
const MOST_BYTES = 50_000_000;
/** Longest side of a photo that is made smaller, pixels. */
const LONGEST = 1_600;

/**
 * A photo that fits into a report, without the place and time that a camera writes into it. A larger one than fits is
 * made smaller, and upright.
 * @param file JPEG or PNG
 * @throws {MillraceError} E_INPUT (another format, or damaged), E_TOO_LARGE (over 50 MB)
 */
export async function smallPhoto(file: Blob): Promise<Photo> {
  if (file.size > MOST_BYTES)
    throw new MillraceError('E_TOO_LARGE', `photo: ${file.size} bytes; at most ${MOST_BYTES}`);
  return cleanPhoto(new Uint8Array(await (file.size > MAX_PHOTO_BYTES ? await shrunk(file) : file).arrayBuffer()));
}

async function shrunk(file: Blob): Promise<Blob> {
  const image = await createImageBitmap(file).catch((cause: unknown) => {
    throw new MillraceError('E_INPUT', 'photo: the browser cannot open it', { cause });
  });
  const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = new OffscreenCanvas(width ?? 1, height ?? 1);
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return canvas.convertToBlob({ type: 'image/jpeg', quality: 0.8 });
}
