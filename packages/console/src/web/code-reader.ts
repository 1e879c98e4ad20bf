/** Reads the QR code in a picture; undefined if it sees none. */
export type ReadCode = (picture: ImageBitmap) => Promise<string | undefined>;

/** The part of a browser's detector of codes used here. Not every browser has one. */
interface Detector {
  detect(source: ImageBitmapSource): Promise<readonly { readonly rawValue: string }[]>;
}
interface DetectorClass {
  new (options: { readonly formats: readonly string[] }): Detector;
  getSupportedFormats(): Promise<readonly string[]>;
}

/** Longest side of a picture that our own reader looks at, pixels. */
const LONGEST = 1_200;

let reader: Promise<ReadCode> | undefined;

/** The browser's own reader of codes, or one that is loaded when it is needed. */
export function codeReader(): Promise<ReadCode> {
  reader ??= findReader().catch((error: unknown) => {
    reader = undefined;
    throw error;
  });
  return reader;
}

async function findReader(): Promise<ReadCode> {
  const { BarcodeDetector } = globalThis as { readonly BarcodeDetector?: DetectorClass };
  const formats = (await BarcodeDetector?.getSupportedFormats().catch(() => [])) ?? [];
  if (BarcodeDetector !== undefined && formats.includes('qr_code')) {
    const detector = new BarcodeDetector({ formats: ['qr_code'] });
    return async (picture) => (await detector.detect(picture))[0]?.rawValue;
  }
  const { decodeQR } = await import('qr/decode.js');
  return async (picture) => {
    const scale = Math.min(1, LONGEST / Math.max(picture.width, picture.height));
    const [width, height] = [picture.width * scale, picture.height * scale].map((side) =>
      Math.max(1, Math.round(side)),
    );
    const canvas = new OffscreenCanvas(width ?? 1, height ?? 1);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    if (context === null) return undefined;
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    try {
      return decodeQR(context.getImageData(0, 0, canvas.width, canvas.height));
    } catch {
      return undefined; // no code in it, or one that is damaged
    }
  };
}

/** Reads the code in a file. @returns undefined if it is not a picture, or has no readable code */
export async function readCodeOf(file: Blob): Promise<string | undefined> {
  const read = await codeReader();
  const picture = await createImageBitmap(file).catch(() => undefined);
  if (picture === undefined) return undefined;
  try {
    return await read(picture);
  } finally {
    picture.close();
  }
}
